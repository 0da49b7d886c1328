/** A line of a plot: its points from left to right, `x` over zero. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const [WIDTH, HEIGHT] = [720, 420];
const [LEFT, RIGHT, TOP, BOTTOM] = [60, 20, 40, 80];
const COLOURS = ['#1b6ca8', '#b8531c', '#2e7d4f', '#7a3e9d'];

/** Lines over a logarithmic `x` and a linear `y` from zero, as SVG. */
export function plot(title: string, unit: string, series: readonly Series[]): string {
  const points = series.flatMap((line) => line.points);
  const most = { x: Math.max(...points.map(([x]) => x)), y: Math.max(...points.map(([, y]) => y)) * 1.2 };
  const across = (x: number) => round(LEFT + (Math.log10(x) / Math.log10(most.x)) * (WIDTH - LEFT - RIGHT));
  const up = (y: number) => round(HEIGHT - BOTTOM - (y / most.y) * (HEIGHT - TOP - BOTTOM));
  const decades = Array.from({ length: Math.floor(Math.log10(most.x)) + 1 }, (_, n) => 10 ** n);
  const steps = Array.from({ length: 5 }, (_, n) => (most.y * n) / 4);
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(WIDTH / 2, 22, title, 'middle', 'font-size="15"'),
    ...decades.flatMap((x) => [
      rule(across(x), TOP, across(x), HEIGHT - BOTTOM),
      text(across(x), HEIGHT - BOTTOM + 18, String(x)),
    ]),
    ...steps.flatMap((y) => [
      rule(LEFT, up(y), WIDTH - RIGHT, up(y)),
      text(LEFT - 6, up(y) + 4, `${y.toFixed(0)}${y === 0 ? '' : ` ${unit}`}`, 'end'),
    ]),
    ...series.flatMap(({ name, points: own }, n) => {
      const colour = COLOURS[n % COLOURS.length] as string;
      const path = own.map(([x, y]) => `${across(x)},${up(y)}`).join(' ');
      const [x, y] = [LEFT + n * 220, HEIGHT - 24];
      return [
        `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
        ...own.map(([px, py]) => `<circle cx="${across(px)}" cy="${up(py)}" r="3.5" fill="${colour}"/>`),
        `<circle cx="${x}" cy="${y - 4}" r="4" fill="${colour}"/>`,
        text(x + 10, y, name, 'start'),
      ];
    }),
    '</svg>',
  ];
  return `${lines.join('\n')}\n`;
}

function rule(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="#ddd"/>`;
}

function text(x: number, y: number, content: string, anchor = 'middle', more = ''): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" ${more}>${content}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

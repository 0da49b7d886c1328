# Docker's official Node image. To build on another one, change the tag in all three places, or pin the digest.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/copy-assets.ts scripts/
COPY src src
RUN npm run build

FROM node:24-slim AS production
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-slim
WORKDIR /app
COPY --from=production /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
RUN install -d -o node -g node -m 0700 /data
# No root, and nothing is written but /data: `--read-only --cap-drop ALL` works.
USER node
# SQLITE_TMPDIR: sorting that outgrows memory finds no other folder to write to.
ENV NODE_ENV=production PEEK_DATA_DIR=/data SQLITE_TMPDIR=/data
# SQLite's file, where PEEK_REDIS_URL is not set.
VOLUME /data
# Clients and federation. Health and metrics (8091) stay inside unless PEEK_OPS_LISTEN says otherwise.
EXPOSE 8090
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s CMD ["node", "dist/main.js", "healthcheck"]
# As process 1 it ends on SIGTERM by itself and has no children to wait for: `--init` does no harm and is not needed.
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]

# The image of a worker: Node, Millrace, and nothing that only builds it.
#
#   docker build -t millrace .
#   docker run --hostname worker-1 -e KAFKA_BROKERS=kafka:9092 -v millrace-checkpoints:/app/.millrace \
#     -v ./pipelines:/app/pipelines:ro millrace run pipelines/mine.ts
#
# - The host name is the instance id: give each container one of its own that survives a restart (or MILLRACE_INSTANCE).
# - Checkpoints go to /app/.millrace/<pipeline>: a volume that all containers of the pipeline share, across hosts too. With
#   MILLRACE_STORE=kafka they go to a topic, and no volume is needed.
# - An orderly stop takes up to 30 s (MILLRACE_GRACE_MS): stop with `docker stop -t 40`, else SIGKILL cuts it short. That
#   costs time at the next start, never records.
#
# Any base with Node ≥ 24.12, npm and a user `node` will do. No BuildKit syntax: the classic builder is enough.
ARG BASE=node:26-slim

FROM ${BASE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY . .
RUN node scripts/build.ts

FROM ${BASE} AS packages
WORKDIR /packages
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts

FROM ${BASE}
ENV NODE_ENV=production
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=packages /packages/node_modules ./node_modules
COPY --from=build /build/dist ./dist
# `import … from 'millrace'` works from any folder, and the store belongs to the user that runs.
RUN mkdir -p .millrace pipelines /node_modules \
  && chown node:node .millrace \
  && ln -s /app /node_modules/millrace \
  && chmod 755 dist/src/cli/main.js \
  && ln -s /app/dist/src/cli/main.js /usr/local/bin/millrace
USER node
EXPOSE 9464
STOPSIGNAL SIGTERM
# The first worker's page. MILLRACE_HTTP_PORT moves it, 0 turns page and check off.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "const port = process.env.MILLRACE_HTTP_PORT || '9464'; if (port !== '0') fetch('http://127.0.0.1:' + port + '/healthz').then((page) => process.exit(page.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["millrace"]
CMD ["--help"]

// Health and metrics over HTTP: /healthz (the process lives), /readyz (restored and running), /metrics (Prometheus text).
import { createServer, type Server } from 'node:http'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Worker } from '../worker/worker.ts'
import { workerMetrics } from './metrics.ts'

/** Listens on `port`. A port that is taken costs the page, not the worker. */
export async function serveHttp(port: number, worker: Worker, log: Logger): Promise<Server | undefined> {
  const metrics = workerMetrics(worker)
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0]
    if (path === '/metrics') {
      metrics.text().then(
        (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
        (error: unknown) => response.writeHead(500).end(messageOf(error)),
      )
      return
    }
    const { phase, generation, tasks, lastError } = worker.status
    const body = `${JSON.stringify({ phase, generation, tasks, ...(lastError ? { lastError } : {}) })}\n`
    if (path === '/healthz')
      response.writeHead(phase === 'failed' ? 503 : 200, { 'content-type': 'application/json' }).end(body)
    else if (path === '/readyz')
      response.writeHead(worker.status.ready ? 200 : 503, { 'content-type': 'application/json' }).end(body)
    else response.writeHead(404).end('millrace: /healthz, /readyz, /metrics\n')
  })
  return new Promise((resolve) => {
    server.once('error', (error) => {
      log.warn(
        { port, error: messageOf(error) },
        'no health and metrics page: the port is taken (http.port, MILLRACE_HTTP_PORT)',
      )
      resolve(undefined)
    })
    server.listen(port, () => {
      server.unref()
      resolve(server)
    })
  })
}

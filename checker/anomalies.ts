/** The six ways a run can be wrong, and a collector that counts them and keeps where each began. */

/** In the order in which the report names them. */
export const anomalyKinds = ['lost', 'duplicated', 'reordered', 'aborted-read', 'stale-state', 'hanging'] as const
export type AnomalyKind = (typeof anomalyKinds)[number]

/** One anomaly: where (`topic-partition@offset`), and what was seen and expected. */
export interface Anomaly {
  readonly where: string
  readonly detail: string
}

/** All anomalies of one kind: how many, and the first few in the order they were met. */
export interface Finding {
  readonly count: number
  readonly first: Anomaly | null
  readonly examples: readonly Anomaly[]
}

export type Findings = Readonly<Record<AnomalyKind, Finding>>

const examplesMax = 5

export class AnomalyCollector {
  readonly #counts: Map<AnomalyKind, number> = new Map()
  readonly #examples: Map<AnomalyKind, Anomaly[]> = new Map()

  add(kind: AnomalyKind, where: string, detail: string): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1)
    const examples = this.#examples.get(kind) ?? []
    if (examples.length < examplesMax) examples.push({ where, detail })
    this.#examples.set(kind, examples)
  }

  findings(): Findings {
    return {
      lost: this.#finding('lost'),
      duplicated: this.#finding('duplicated'),
      reordered: this.#finding('reordered'),
      'aborted-read': this.#finding('aborted-read'),
      'stale-state': this.#finding('stale-state'),
      hanging: this.#finding('hanging'),
    }
  }

  #finding(kind: AnomalyKind): Finding {
    const examples = this.#examples.get(kind) ?? []
    return { count: this.#counts.get(kind) ?? 0, first: examples[0] ?? null, examples }
  }
}

export function at(topic: string, partition: number, offset: number | string): string {
  return `${topic}-${partition}@${offset}`
}

/** What Millrace means to reach beside the JVM peers. */
import type { Scenario } from '../scenarios/scenario.ts'

/** A ratio at most; `raised`: what was meant later, when the first one had been reached beside peers with less tuning. */
export interface RatioTarget {
  readonly max: number
  readonly raised?: number
}

/** CPU per record, ours ÷ that of the better JVM peer at its better setting. */
export const cpuRatio: Readonly<Record<Scenario['id'], RatioTarget>> = {
  W0: { max: 0.22 },
  W1: { max: 0.55, raised: 0.47 },
  W2: { max: 0.55, raised: 0.4 },
  W3: { max: 0.45 },
  W4: { max: 0.8, raised: 0.6 },
}

/** The same where Millrace names the fields that it uses: W1 by `patch`, W2 by `json().only()`. */
export const cpuRatioNaming: Partial<Readonly<Record<Scenario['id'], RatioTarget>>> = {
  W1: { max: 0.33, raised: 0.3 },
  W2: { max: 0.36, raised: 0.32 },
}

/** W3 with a tenth of the keys in our memory, and all of them in the peers'. */
export const cpuRatioTenth: RatioTarget = { max: 1 }

/** The broker's CPU per record under us ÷ that under the JVM peer which costs it least. */
export const brokerRatio: Partial<Readonly<Record<Scenario['id'], RatioTarget>>> = {
  W0: { max: 1 },
  W1: { max: 1 },
  W2: { max: 1 },
}

/** Peak resident memory, in MB. */
export const peakRssMbMax: Partial<Readonly<Record<Scenario['id'], number>>> = { W2: 300 }

/** From SIGKILL of everything, started again at once, to the first new committed output, in ms. */
export const recoveryMsMax = 2_000

/** For a worker killed alone, below its supervisor. */
export const workerRecoveryMsMax = 1_000

/** What Millrace means to reach beside the JVM peers. W1, W2 and W4 began at 0.55, 0.55 and 0.8, naming fields 0.33 and 0.36: reached, and raised. */
import type { Scenario } from '../scenarios/scenario.ts'

/** CPU per record, ours ÷ that of the better JVM peer at its better setting. */
export const cpuRatioMax: Readonly<Record<Scenario['id'], number>> = { W0: 0.22, W1: 0.47, W2: 0.4, W3: 0.45, W4: 0.6 }

/** The same where Millrace names the fields that it uses: W1 by `patch`, W2 by `json().only()`. */
export const cpuRatioMaxNaming: Partial<Readonly<Record<Scenario['id'], number>>> = { W1: 0.3, W2: 0.32 }

/** W3 with a tenth of the keys in our memory, and all of them in the peers'. */
export const cpuRatioMaxTenth = 1

/** The broker's CPU per record under us ÷ that under the JVM peer which costs it least. */
export const brokerRatioMax: Partial<Readonly<Record<Scenario['id'], number>>> = { W0: 1, W1: 1, W2: 1 }

/** Peak resident memory, in MB. */
export const peakRssMbMax: Partial<Readonly<Record<Scenario['id'], number>>> = { W2: 300 }

/** From SIGKILL of everything, started again at once, to the first new committed output, in ms. */
export const recoveryMsMax = 2_000

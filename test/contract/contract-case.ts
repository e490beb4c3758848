// A contract suite is a list of cases, so that any test runner can carry it out:
//   for (const { name, run } of checkpointStoreContract(…)) test(name, run)

/** Throws (an `AssertionError`) if the implementation breaks the contract. */
export interface ContractCase {
  readonly name: string
  readonly run: () => Promise<void>
}

import { Failure } from "../src/report/failure.ts";

/** The failure of a promise that must fail. */
export async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  try {
    await promise;
  } catch (e) {
    if (e instanceof Failure) return e;
    throw e;
  }
  throw new Error("it did not fail");
}

/** What a policy outside the process is told, in the order in which it happened. docs/external-policy.md has the format. */
export type News =
  | { readonly op: "new-worker"; readonly worker: number; readonly threads: number; readonly host: number }
  | { readonly op: "worker-status"; readonly worker: number; readonly running: boolean }
  | { readonly op: "worker-left"; readonly worker: number }
  | {
      readonly op: "new-task";
      readonly task: number;
      readonly inputs: readonly number[];
      readonly name: string;
      readonly order: number;
      readonly tied: boolean;
    }
  | {
      readonly op: "new-data";
      readonly task: number;
      readonly workers: readonly number[];
      readonly nbytes: number;
    }
  | { readonly op: "task-waiting"; readonly task: number }
  | { readonly op: "task-placed"; readonly task: number; readonly worker: number }
  | {
      readonly op: "task-finished";
      readonly task: number;
      /** null: the result came from outside. */
      readonly worker: number | null;
      readonly nbytes: number;
      /** null: the worker did not say. */
      readonly duration: number | null;
    }
  | { readonly op: "task-removed"; readonly task: number }
  | {
      readonly op: "steal-response";
      readonly task: number;
      readonly from: number;
      readonly to: number;
      readonly success: boolean;
    };

/** One message to the policy; it answers each with one {@link Answer}, in their order. */
export interface Batch {
  readonly batch: number;
  readonly news: readonly News[];
}

export interface Answer {
  readonly batch: number;
  /** Pairs of a task and a worker. */
  readonly assignments: readonly (readonly [task: number, worker: number])[];
}

/** The policy answered something that makes no sense; the message says what. */
export class PolicyAnswerError extends Error {
  override readonly name = "PolicyAnswerError";
}

/** Checks the form of an answer; whether its numbers mean anything is another question. Throws PolicyAnswerError. */
export function readAnswer(value: unknown, batch: number): Answer {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new PolicyAnswerError(`its answer to batch ${batch} is no map: ${shown(value)}`);
  const fields: { readonly batch?: unknown; readonly assignments?: unknown } = value;
  if (fields.batch !== batch)
    throw new PolicyAnswerError(`it answered batch ${shown(fields.batch)}, and batch ${batch} was next`);
  const pairs = fields.assignments;
  if (!Array.isArray(pairs))
    throw new PolicyAnswerError(`its answer to batch ${batch} has no list of assignments`);
  const assignments = pairs.map((pair: unknown) => {
    const [task, worker] = Array.isArray(pair) ? pair : [];
    if (!Number.isSafeInteger(task) || !Number.isSafeInteger(worker))
      throw new PolicyAnswerError(`batch ${batch}: ${shown(pair)} is no pair of a task and a worker`);
    return [Number(task), Number(worker)] as const;
  });
  return { batch, assignments };
}

const SHOWN_MAX = 100;

function shown(value: unknown): string {
  const text = JSON.stringify(value, (_, item: unknown) => (typeof item === "bigint" ? `${item}` : item));
  return (text ?? String(value)).slice(0, SHOWN_MAX);
}

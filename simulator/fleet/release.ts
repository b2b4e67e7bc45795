/**
 * The releases of Dask whose wire a zero worker speaks, and where they differ towards a worker
 * (docs: the version table of PROTOCOL; distributed's `worker_state_machine.py` of each release).
 */

/** What `--release` takes. */
export type Release = "2022.12" | "2024.12" | "2026.8";

export const RELEASES: readonly Release[] = ["2022.12", "2024.12", "2026.8"];

/** What a worker of one release does differently from the others. */
export interface ReleaseTraits {
  readonly release: Release;
  /** The full version that the worker's registration claims for dask and distributed. */
  readonly version: string;
  /** `compute-task` carries `run_id`, and reports repeat it. */
  readonly has_run_id: boolean;
  /** 2022.12: registration lists keys, nbytes and types, and metrics count every task state. */
  readonly is_2022: boolean;
  /** The fields of a `compute-task`, all of them required, no other allowed: a real worker closes otherwise. */
  readonly compute_fields: readonly string[];
}

const COMMON_FIELDS = [
  "op",
  "key",
  "priority",
  "stimulus_id",
  "who_has",
  "nbytes",
  "run_spec",
  "resource_restrictions",
  "actor",
  "annotations",
];

const TRAITS: Readonly<Record<Release, ReleaseTraits>> = {
  "2022.12": {
    release: "2022.12",
    version: "2022.12.1",
    has_run_id: false,
    is_2022: true,
    compute_fields: [...COMMON_FIELDS, "duration", "function", "args", "kwargs"],
  },
  "2024.12": {
    release: "2024.12",
    version: "2024.12.1",
    has_run_id: true,
    is_2022: false,
    compute_fields: [...COMMON_FIELDS, "run_id", "duration", "span_id"],
  },
  "2026.8": {
    release: "2026.8",
    version: "2026.8.0",
    has_run_id: true,
    is_2022: false,
    compute_fields: [...COMMON_FIELDS, "run_id", "span_id"],
  },
};

/** The traits of a release. */
export function releaseTraits(release: Release): ReleaseTraits {
  return TRAITS[release];
}

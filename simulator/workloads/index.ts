export { parseWorkload } from "./parse.ts";
export { type RecordedRun, type Workload, WorkloadError } from "./workload.ts";

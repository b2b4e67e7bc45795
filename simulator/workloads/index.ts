export { parseWorkload } from "./parse.ts";
export { type Workload, WorkloadError } from "./workload.ts";

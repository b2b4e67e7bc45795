export { GraphCycleError, type OrderInput } from "./graph.ts";
export { orderGraph } from "./order.ts";

/**
 * Ids inside the scheduler: dense small integers, so that every table is a typed array.
 * They are plain aliases, not brands: typed arrays give and take numbers, and a cast at each
 * access would be noise (docs/decisions/0002-plain-integer-ids.md).
 * An id is reused after its thing is gone; -1 stands for "none".
 */
export type TaskId = number;
export type WorkerId = number;
export type ClientId = number;

export const NONE = -1;

import type { Scheduler } from "../../core/scheduler.ts";
import { keyText } from "../../protocol/keys.ts";
import type { WireValue } from "../../protocol/values.ts";
import { WireSet } from "../../protocol/values.ts";
import type { Handler } from "../rpc/context.ts";
import { PythonError } from "../rpc/python-error.ts";
import { type Request, toKey } from "../rpc/request.ts";

/** `set_restrictions {worker: {key: workers}}`: other workers for tasks that are not placed yet; None: any. */
export function restrictionHandlers(scheduler: Scheduler): readonly (readonly [string, Handler])[] {
  return [["set_restrictions", (request) => setRestrictions(request, scheduler)]];
}

function setRestrictions(request: Request, scheduler: Scheduler): WireValue {
  const { books } = scheduler;
  const asked = request.map("worker");
  const changes = asked.keys.map((value, i) => {
    const key = toKey(value);
    const task = books.keys.findKey(key);
    if (task < 0) throw new PythonError("KeyError", keyText(key));
    return { task, workers: namesOf(asked.values[i]!) };
  });
  for (const { task, workers } of changes) {
    const before = books.restrictions.get(task);
    const resources = before?.resources ?? null;
    const restrictions = { workers, loose: before?.loose ?? false, resources };
    scheduler.restrictionsChanged(task, workers === null && resources === null ? null : restrictions);
  }
  return null;
}

/** Addresses, names or hosts; none at all: null. */
function namesOf(value: WireValue): ReadonlySet<string> | null {
  if (value === null) return null;
  const items = value instanceof WireSet ? value.items : Array.isArray(value) ? value : [value];
  return items.length === 0 ? null : new Set(items.map(String));
}

import type { Machine } from "../../base/machine.ts";
import type { KeyBytes } from "../../protocol/keys.ts";
import type { WireValue } from "../../protocol/values.ts";
import type { Channel } from "../peers/channel.ts";
import type { ClientPeer, Cluster } from "../peers/cluster.ts";
import type { Handler } from "../rpc/context.ts";
import { keyId, type Request } from "../rpc/request.ts";
import { handFuture, type Item, itemOf, itemReply } from "./futures.ts";
import { Deadline, nameId, nameText, TIMED_OUT, timeoutError, Waiters } from "./waiting.ts";

/** A future that a variable holds or held. */
interface Held {
  readonly key: KeyBytes;
  /** Gets that were answered and not confirmed yet, by token, and whose they are: until then the key is wanted. */
  readonly unconfirmed: Map<string, string | null>;
}

interface Variable {
  readonly name: WireValue;
  /** Null: not set, or deleted. */
  item: Item | null;
  /** By key. */
  readonly held: Map<string, Held>;
  readonly getters: Waiters<null>;
}

/**
 * Dask's distributed.Variable: one item under a name. A future in it is wanted in the variable's own name as long as
 * it is the value, and until all who got it have said that they want it themselves.
 */
export class Variables {
  readonly #cluster: Cluster;
  readonly #machine: Machine;
  readonly #variables = new Map<string, Variable>();

  constructor(cluster: Cluster, machine: Machine) {
    this.#machine = machine;
    this.#cluster = cluster;
  }

  /** `variable_set {name, key? | data?, timeout?}` */
  async set(request: Request, channel: Channel): Promise<WireValue> {
    const name = request.value("name");
    const item = await itemOf(request, this.#cluster, channel, new Deadline(request, channel));
    const variable = this.#variable(name);
    const before = variable.item;
    variable.item = item;
    if ("key" in item) this.#hold(variable, item.key);
    if (before !== null && "key" in before) this.#mayLetGo(variable, before.key);
    variable.getters.wakeAll(null);
    return null;
  }

  /** `variable_get {name, client?, timeout?}`: waits until there is a value. */
  async get(request: Request, channel: Channel): Promise<WireValue> {
    const name = request.value("name");
    const client = request.optionalString("client");
    const deadline = new Deadline(request, channel);
    for (;;) {
      const variable = this.#variable(name);
      if (variable.item !== null) return this.#read(variable, variable.item, client);
      try {
        if ((await variable.getters.wait(channel, deadline.remaining_ms)) === TIMED_OUT) throw timeoutError();
      } finally {
        this.#mayForget(variable);
      }
    }
  }

  /** `variable-future-received-confirm {name, key, token}` of a client's stream; in 2022 `variable-future-release`. */
  futureReceived(request: Request, client: ClientPeer): void {
    const key = request.key("key");
    handFuture(key, client.name, this.#cluster);
    const variable = this.#variables.get(nameId(request.value("name")));
    if (variable?.held.get(keyId(key))?.unconfirmed.delete(request.string("token")) === true)
      this.#mayLetGo(variable, key);
  }

  /** `variable_delete {name}` of a client's stream. */
  delete(request: Request): void {
    const variable = this.#variables.get(nameId(request.value("name")));
    if (variable === undefined) return;
    const before = variable.item;
    variable.item = null;
    if (before !== null && "key" in before) this.#mayLetGo(variable, before.key);
    this.#mayForget(variable);
  }

  /** What the client got and did not confirm, it will not confirm any more. */
  clientLeft(client: string): void {
    for (const variable of [...this.#variables.values()])
      for (const { key, unconfirmed } of [...variable.held.values()]) {
        for (const [token, whose] of unconfirmed) if (whose === client) unconfirmed.delete(token);
        this.#mayLetGo(variable, key);
      }
  }

  #read(variable: Variable, item: Item, client: string | null): WireValue {
    const reply = itemReply(item, this.#cluster);
    if (!("key" in item)) return reply;
    const token = this.#machine.uuid().replaceAll("-", "");
    this.#hold(variable, item.key).unconfirmed.set(token, client);
    return reply.set("token", token);
  }

  #variable(name: WireValue): Variable {
    const id = nameId(name);
    let variable = this.#variables.get(id);
    if (variable === undefined) {
      variable = { name, item: null, held: new Map(), getters: new Waiters() };
      this.#variables.set(id, variable);
    }
    return variable;
  }

  #hold(variable: Variable, key: KeyBytes): Held {
    let held = variable.held.get(keyId(key));
    if (held === undefined) {
      held = { key, unconfirmed: new Map() };
      variable.held.set(keyId(key), held);
      this.#cluster.desireKeys(wantedAs(variable), [key]);
    }
    return held;
  }

  #mayLetGo(variable: Variable, key: KeyBytes): void {
    const id = keyId(key);
    const held = variable.held.get(id);
    const { item } = variable;
    const present = item !== null && "key" in item && keyId(item.key) === id;
    if (held === undefined || held.unconfirmed.size > 0 || present) return;
    variable.held.delete(id);
    this.#cluster.releaseKeys(wantedAs(variable), [key], `release-variable-${nameText(variable.name)}`);
    this.#mayForget(variable);
  }

  #mayForget(variable: Variable): void {
    if (variable.item !== null || variable.held.size > 0 || variable.getters.length > 0) return;
    const id = nameId(variable.name);
    // Who still waited when it was forgotten before, may look at it when there is another of its name.
    if (this.#variables.get(id) !== variable) return;
    this.#variables.delete(id);
    this.#cluster.forgetWants(wantedAs(variable));
  }
}

function wantedAs({ name }: Variable): string {
  return `variable-${nameText(name)}`;
}

export const VARIABLE_HANDLERS: readonly (readonly [string, Handler])[] = [
  ["variable_set", (request, context, channel) => context.extensions.variables.set(request, channel)],
  ["variable_get", (request, context, channel) => context.extensions.variables.get(request, channel)],
];

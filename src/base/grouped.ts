/** The items by what `key` answers of each, in the order in which they and the keys first come. */
export function grouped<T, K>(items: Iterable<T>, key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) listOf(groups, key(item)).push(item);
  return groups;
}

/** The list that a key has, from now on at least an empty one. */
export function listOf<K, T>(lists: Map<K, T[]>, key: K): T[] {
  let list = lists.get(key);
  if (list === undefined) {
    list = [];
    lists.set(key, list);
  }
  return list;
}

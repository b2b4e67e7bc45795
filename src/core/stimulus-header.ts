import type { DaskPolicySettings } from "../schedulers/dask/settings.ts";

/** The first line of a log of stimuli: what the core was made with, beside its outbox. */
export interface StimulusHeader {
  readonly schema: "rsds.stimuli/1";
  readonly rsds: { readonly version: string };
  readonly started_at: string;
  /** The policy's name. */
  readonly scheduler: string;
  /** Of the policy's lots. */
  readonly seed: number;
  readonly allowed_failures: number;
  readonly settings: PlainSettings;
}

/** {@link DaskPolicySettings} in JSON: `inf` for what has no end, pairs for a map. */
export type PlainSettings = {
  readonly [Name in keyof DaskPolicySettings]: DaskPolicySettings[Name] extends boolean
    ? boolean
    : DaskPolicySettings[Name] extends number
      ? number | "inf"
      : readonly (readonly [string, number])[];
};

export function settingsToPlain(settings: DaskPolicySettings): PlainSettings {
  const number = (value: number): number | "inf" => (value === Number.POSITIVE_INFINITY ? "inf" : value);
  return {
    worker_saturation: number(settings.worker_saturation),
    rootish_groups: number(settings.rootish_groups),
    rootish_tasks: number(settings.rootish_tasks),
    stealing: settings.stealing,
    stealing_interval_ns: number(settings.stealing_interval_ns),
    bandwidth: number(settings.bandwidth),
    unknown_nbytes: number(settings.unknown_nbytes),
    default_durations_s: [...settings.default_durations_s],
    unknown_duration_s: number(settings.unknown_duration_s),
  };
}

export function settingsOfPlain(plain: PlainSettings): DaskPolicySettings {
  const number = (value: number | "inf"): number => (value === "inf" ? Number.POSITIVE_INFINITY : value);
  return {
    worker_saturation: number(plain.worker_saturation),
    rootish_groups: number(plain.rootish_groups),
    rootish_tasks: number(plain.rootish_tasks),
    stealing: plain.stealing,
    stealing_interval_ns: number(plain.stealing_interval_ns),
    bandwidth: number(plain.bandwidth),
    unknown_nbytes: number(plain.unknown_nbytes),
    default_durations_s: new Map(plain.default_durations_s),
    unknown_duration_s: number(plain.unknown_duration_s),
  };
}

import type { Calibration, Movement, PlantRow, ProfileAgreement, Subtraction } from "./calibration.ts";
import { columns, grouped, percent, significant, styled, type TextOptions } from "./text.ts";

/** The calibration as text for people. Ends with a newline. */
export function renderCalibration(calibration: Calibration, options: TextOptions): string {
  const { run, bound } = calibration;
  const facts = [
    `${grouped(run.tasks)} tasks`,
    `${grouped(run.zero_workers)} zero workers`,
    run.transport,
    run.release,
    `${run.repeats} ${run.repeats === 1 ? "round" : "rounds"}`,
  ];
  const sections = [
    [
      `${styled(options, "bold", `calibration on ${run.workload}`)}  ${styled(options, "dim", facts.join(" · "))}`,
    ],
    plantSection(calibration.plants, options),
    calibration.left_out.map(({ planted_in, reason }) => `  ${planted_in}: not planted, ${reason}`),
    subtractSection(calibration.subtract ?? [], options),
    calibration.cpu_profile === undefined ? [] : profileSection(calibration.cpu_profile, options),
    calibration.plants.length === 0 ? [] : [verdict(calibration, bound)],
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => `${lines.join("\n")}\n`)
    .join("\n");
}

function plantSection(plants: readonly PlantRow[], options: TextOptions): string[] {
  if (plants.length === 0) return [];
  const rows = [
    [
      "planted in",
      "delays",
      "of µs",
      "= ms",
      "clocked ms",
      "attributed ms",
      "error",
      "moved most",
      "by ms",
      "noise ms",
      "",
    ],
    ...plants.map((row) => {
      const most = foremost(row.moved);
      return [
        row.planted_in,
        grouped(row.delays),
        significant(row.delay_us),
        significant(row.planted_ms),
        significant(row.clocked_ms),
        significant(row.attributed_ms),
        signedPercent(row.error),
        ...(most === undefined
          ? ["", "", ""]
          : [most.phase, signed(most.moved_ms), significant(most.noise_ms)]),
        row.ok ? "ok" : "OFF",
      ];
    }),
  ];
  return columns(rows, 1).map((line, i) => {
    const style = i === 0 ? "dim" : plants[i - 1]?.ok === true ? null : "yellow";
    return `  ${style === null ? line : styled(options, style, line)}`;
  });
}

function subtractSection(subtract: readonly Subtraction[], options: TextOptions): string[] {
  return subtract.flatMap((row) => {
    const lines = columns(
      [
        [`phase ${row.phase}`, signed(row.phase_us_per_task)],
        ...row.side_effects.map(({ name, us_per_task }) => [`side effect on ${name}`, signed(us_per_task)]),
        ["not explained", signed(row.unexplained_us_per_task)],
      ],
      1,
    );
    const verdict = `${signedPercent(row.error)} (bound ${percent(row.bound)}) ${row.ok ? "ok" : "OFF"}`;
    return [
      `  ${styled(options, "bold", row.difference)}  ${signed(row.kernel_us_per_task)} µs a task by the kernel (waits for a core ${signed(row.core_wait_us_per_task)}); phases ${verdict}`,
      ...lines.map((line) => `    ${line}`),
      ...(Math.abs(row.core_wait_us_per_task) > row.bound * Math.abs(row.kernel_us_per_task)
        ? [
            styled(
              options,
              "yellow",
              "    the machine was busy: the thread waited for a core, on waking too, when libuv calls it idle",
            ),
          ]
        : []),
    ];
  });
}

function profileSection(agreement: ProfileAgreement, options: TextOptions): string[] {
  const { rows, samples, points_max, bound_points, ok } = agreement;
  const lines = columns(
    [
      ["phase", "recorded", "sampled", "points"],
      ...rows.map(({ phase, recorded_share, sampled_share }) => [
        phase,
        percent(recorded_share),
        percent(sampled_share),
        signed(100 * (sampled_share - recorded_share)),
      ]),
    ],
    1,
  );
  return [
    `  against V8's profile, ${grouped(samples)} samples`,
    ...lines.map((line, i) => `  ${i === 0 ? styled(options, "dim", line) : line}`),
    `  at most ${significant(points_max)} points apart (bound ${bound_points}): ${ok ? "ok" : "OFF"}`,
  ];
}

/** The phase that moved most, measured by its noise. */
function foremost(moved: readonly Movement[]): Movement | undefined {
  const size = ({ moved_ms, noise_ms }: Movement): number => Math.abs(moved_ms) / noise_ms;
  return moved.toSorted((a, b) => size(b) - size(a))[0];
}

function verdict({ plants, ok }: Calibration, bound: number): string {
  const worst = Math.max(0, ...plants.map(({ error }) => Math.abs(error)));
  const what = `largest error ${percent(worst)} (bound ${percent(bound)})`;
  const off = plants.filter((row) => !row.ok).map(({ planted_in }) => planted_in);
  if (off.length === 0)
    return `  ${what}; ${ok ? "all within their bounds" : "not all is within its bounds"}`;
  return `  ${what}; off: ${off.join(", ")}`;
}

function signed(value: number): string {
  return value < 0 ? `−${significant(-value)}` : `+${significant(value)}`;
}

function signedPercent(share: number): string {
  return share < 0 ? `−${percent(-share)}` : `+${percent(share)}`;
}

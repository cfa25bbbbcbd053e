// uPlot in the page's colours.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock, day } from "../format.ts";
import { isDark } from "../theme.ts";

export interface Line {
  label: string;
  /** A custom property of the style sheet. */
  colour: string;
  scale?: string;
  kind?: "line" | "steps" | "bars";
  dash?: number[];
  /** Whether its values are whole numbers. */
  counts?: boolean;
  value: (value: number) => string;
}

interface Props {
  /** What it shows, in words, for who does not see it. */
  summary: string;
  data: uPlot.AlignedData;
  lines: Line[];
  height?: number;
  /** Days or moments along the bottom. */
  days?: boolean;
  onPick?: (seconds: number) => void;
}

/** A canvas knows no custom properties: this is what one comes to, in the theme that is shown. */
function colourOf(property: string, within: HTMLElement): string {
  within.style.color = `var(${property})`;
  const colour = getComputedStyle(within).color;
  within.style.color = "";
  return colour;
}

const COUNTS = [1, 2, 5]
  .flatMap((digit) => Array.from({ length: 10 }, (_, zeros) => digit * 10 ** zeros))
  .sort((a, b) => a - b);

const HALF_DAY = 43_200;
/** Room for the bars of the first and the last day. */
const halfDays = (_: uPlot, first: number, last: number): [number, number] => [
  first - HALF_DAY,
  last + HALF_DAY,
];

/** A moment on the axis: as much of it as its neighbours differ by. */
function timeWords(tick: number, step: number, days: boolean): string {
  const iso = new Date(tick * 1000).toISOString();
  if (days) return step < 86_400 ? "" : iso.slice(5, 10);
  if (step >= 86_400) return day(iso).slice(5);
  return clock(iso, step < 1).slice(0, step < 1 ? undefined : step < 60 ? 8 : 5);
}

export function Chart({ summary, data, lines, height = 220, days = false, onPick }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const shown = isDark.value;
  const shape = JSON.stringify([lines, height, days, shown]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const colour = (property: string) => colourOf(property, element);
    const text = colour("--muted");
    const grid = { stroke: colour("--border"), width: 1 };
    const scales = [...new Set(lines.map((line) => line.scale ?? "y"))];
    const axis = (scale: string, index: number): uPlot.Axis => ({
      scale,
      side: index === 0 ? 3 : 1,
      stroke: text,
      grid: { ...grid, show: index === 0 },
      ticks: grid,
      size: (_, ticks) => 18 + 7 * Math.max(2, ...(ticks ?? []).map((tick) => tick.length)),
      ...(lines.some((line) => (line.scale ?? "y") === scale && line.counts) ? { incrs: COUNTS } : {}),
      font: "11px system-ui",
      values: (_, ticks) =>
        ticks.map((tick) => lines.find((line) => (line.scale ?? "y") === scale)?.value(tick) ?? ""),
    });
    const made = new uPlot(
      {
        width: element.clientWidth || 300,
        height,
        cursor: { points: { size: 7 } },
        legend: { live: true },
        scales: Object.fromEntries([
          ["x", { time: true, ...(days ? { range: halfDays } : {}) }],
          ...scales.map((scale) => [
            scale,
            { range: (_: uPlot, __: number, max: number) => [0, Math.max(1, max * 1.1)] },
          ]),
        ]),
        axes: [
          {
            stroke: text,
            grid,
            ticks: grid,
            font: "11px system-ui",
            space: 78,
            values: (_: uPlot, ticks: number[], __: number, ___: number, step: number) =>
              ticks.map((tick) => timeWords(tick, step, days)),
          },
          ...scales.map(axis),
        ],
        series: [
          days
            ? { label: "day", value: "{YYYY}-{MM}-{DD}" }
            : { label: "time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
          ...lines.map((line): uPlot.Series => {
            const stroke = colour(line.colour);
            const paths =
              line.kind === "bars"
                ? uPlot.paths.bars?.({ size: [0.7, 40] })
                : line.kind === "steps"
                  ? uPlot.paths.stepped?.({ align: 1 })
                  : undefined;
            return {
              label: line.label,
              scale: line.scale ?? "y",
              stroke,
              width: line.kind === "bars" ? 0 : 2,
              points: { show: false },
              ...(line.dash ? { dash: line.dash } : {}),
              ...(line.kind === "bars" ? { fill: stroke } : {}),
              ...(paths ? { paths } : {}),
              value: (_, value) => (value == null ? "–" : line.value(value)),
            };
          }),
        ],
        ...(days ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") } : {}),
      },
      data,
      element,
    );
    plot.current = made;
    if (onPick) made.over.addEventListener("click", () => onPick(made.posToVal(made.cursor.left ?? 0, "x")));
    const sized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    sized.observe(element);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(data), [data]);

  return <div class="chart" ref={box} role="img" aria-label={summary} />;
}

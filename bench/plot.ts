// Draws the results of the benchmark as an SVG. Equal results give equal bytes.

import type { TopLevelSpec } from "vega-lite" with { "resolution-mode": "import" };

import { label } from "./report";
import { nodeHost, standalone, systemd } from "./results";
import type { BatchRow, Results } from "./results";

/** Okabe's and Ito's colours, for all kinds of colour vision. */
const colours = { [standalone]: "#0072b2", [nodeHost]: "#009e73", [systemd]: "#d55e00" };
const others = "#9aa0a6";
const ink = "#24292f";

const width = 560;
const gap = 40;

/** Three significant digits. */
function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** A logarithmic scale from the power of ten below the values to the one above. */
function decades(values: readonly number[]) {
  const first = Math.floor(Math.log10(Math.min(...values)));
  const last = Math.ceil(Math.log10(Math.max(...values)));
  const powers = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
  const domain = [10 ** first, 10 ** last];
  return {
    scale: { type: "log", domain } as const,
    axis: { values: powers, format: "~" },
    first: 10 ** first,
  };
}

type Panel = Extract<TopLevelSpec, { vconcat: unknown }>["vconcat"][number];

function times({ rows }: Results): Panel {
  const { scale, axis, first } = decades(rows.flatMap(({ minMs, p99Ms }) => [minMs, p99Ms]));
  const color = {
    condition: Object.entries(colours).map(([name, value]) => ({
      test: `datum.name === '${name}'`,
      value,
    })),
    value: others,
  };
  return {
    title: "One at a time: spawn to exit, ms",
    width,
    height: { step: 22 },
    data: {
      values: rows.map((row) => ({ ...row, label: label(row), median: short(row.medianMs) })),
    },
    encoding: { y: { field: "label", type: "nominal", sort: null, title: null } },
    layer: [
      {
        mark: { type: "bar", height: 14 },
        encoding: {
          x: {
            field: "medianMs",
            type: "quantitative",
            title: "median, and from the minimum to the 99th percentile; † until the first byte",
            scale,
            axis,
          },
          x2: { datum: first },
          color,
        },
      },
      {
        mark: { type: "rule", color: ink },
        encoding: { x: { field: "minMs", type: "quantitative" }, x2: { field: "p99Ms" } },
      },
      {
        mark: { type: "text", align: "left", dx: 6, color: ink },
        encoding: {
          x: { field: "p99Ms", type: "quantitative" },
          text: { field: "median", type: "nominal" },
        },
      },
    ],
  };
}

function curve(rows: readonly BatchRow[], title: string, of: (row: BatchRow) => number): Panel {
  const sizes = [...new Set(rows.map(({ size }) => size))];
  const known = Object.entries(colours).filter(([name]) => rows.some((row) => row.name === name));
  const values = rows.map((row) => ({ name: row.name, size: row.size, value: of(row) }));
  const { scale, axis } = decades(values.map(({ value }) => value));
  return {
    title,
    width: (width - gap) / 2 - 24,
    height: 200,
    data: { values },
    encoding: {
      x: {
        field: "size",
        type: "quantitative",
        title: "proxies at once",
        scale: { type: "log", nice: false },
        axis: { values: sizes },
      },
      y: { field: "value", type: "quantitative", title: null, scale, axis },
      color: {
        field: "name",
        type: "nominal",
        title: null,
        scale: { domain: known.map(([name]) => name), range: known.map(([, colour]) => colour) },
      },
    },
    mark: { type: "line", point: { size: 40 } },
  };
}

function specification(results: Results): TopLevelSpec {
  const { machine, processor, rounds, versions } = results;
  const batchRows = results.batchRows.filter(({ failed }) => failed === 0);
  const panels: Panel[] = [times(results)];
  if (batchRows.length > 0) {
    panels.push({
      spacing: gap,
      hconcat: [
        curve(batchRows, "Many at once: CPU time of all, ms", ({ cpuMs }) => cpuMs),
        curve(batchRows, "Many at once: memory of all (PSS), MiB", ({ pssKb }) => pssKb / 1024),
      ],
    });
  }
  return {
    title: {
      text: "What a ProxyCommand costs ssh",
      subtitle: [
        `${machine}; all on processor ${processor}; medians of ${rounds} runs`,
        versions.slice(0, 4).join(", "),
        versions.slice(4).join(", "),
      ],
      offset: 18,
    },
    background: "white",
    padding: 16,
    spacing: 28,
    vconcat: panels,
    config: {
      aria: false,
      font: "Helvetica, Arial, sans-serif",
      view: { stroke: null },
      title: { anchor: "start", fontSize: 13, color: ink, subtitleColor: ink, offset: 8 },
      axis: { labelColor: ink, titleColor: ink, titleFontWeight: "normal", labelFontSize: 11 },
      axisY: { ticks: false, domain: false, labelPadding: 6, labelLimit: 300 },
      legend: { orient: "bottom", labelColor: ink, labelFontSize: 11 },
    },
  };
}

export async function plot(results: Results): Promise<string> {
  // ECMAScript modules, both: a CommonJS module can but import() them.
  const [vegaLite, vega] = await Promise.all([import("vega-lite"), import("vega")]);
  const { spec } = vegaLite.compile(specification(results));
  const view = new vega.View(vega.parse(spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return `${svg}\n`;
}

// Curves as a picture: how the time of an ADD grows with the attachments on the host.

/** A labelled curve. */
export interface Curve {
  readonly label: string;
  readonly points: readonly { readonly size: number; readonly ms: number }[];
}

const WIDTH = 640;
const HEIGHT = 300;
const LEFT = 48;
const RIGHT = 120;
const TOP = 24;
const BOTTOM = 44;
const COLOURS = ["a", "b", "c"];

/** A round number of at least this. */
function roundUp(value: number): number {
  const step = 10 ** Math.floor(Math.log10(value));
  return Math.ceil(value / step) * step;
}

function at(n: number): string {
  return n.toFixed(1);
}

/** The curves as SVG: time upwards from zero, the number of attachments to the right, each ten times the one before. */
export function drawCurves(curves: readonly Curve[]): string {
  const sizes = curves[0]?.points.map((p) => p.size) ?? [];
  const top = roundUp(Math.max(...curves.flatMap((c) => c.points.map((p) => p.ms))));
  const [first, last] = [Math.log10(Math.max(sizes[0] ?? 1, 1)), Math.log10(sizes.at(-1) ?? 10)];
  const x = (size: number): number =>
    LEFT + ((Math.log10(Math.max(size, 1)) - first) / Math.max(last - first, 1e-9)) * (WIDTH - LEFT - RIGHT);
  const y = (ms: number): number => HEIGHT - BOTTOM - (ms / top) * (HEIGHT - TOP - BOTTOM);
  const grid = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const level = at(y(part * top));
    return `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${level}" y2="${level}"/><text x="${LEFT - 8}" y="${level}" dy="4" text-anchor="end">${part * top}</text>`;
  });
  const ticks = sizes.map(
    (size) => `<text x="${at(x(size))}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${size}</text>`,
  );
  const lines = curves.map(({ label, points }, i) => {
    const colour = COLOURS[i % COLOURS.length] ?? "";
    const path = points.map((p) => `${at(x(p.size))},${at(y(p.ms))}`).join(" ");
    const dots = points.map((p) => `<circle class="dot ${colour}" cx="${at(x(p.size))}" cy="${at(y(p.ms))}" r="3.5"/>`);
    const end = points.at(-1);
    const name =
      end === undefined ? "" : `<text x="${at(x(end.size) + 10)}" y="${at(y(end.ms))}" dy="4">${label}</text>`;
    return `<polyline class="${colour}" points="${path}"/>${dots.join("")}${name}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Median time of an ADD by the number of attachments on the host">
<style>
text { font: 13px sans-serif; fill: #24292f }
.grid { stroke: #d0d7de; stroke-width: 1 }
polyline { fill: none; stroke-width: 2.5 }
polyline.a { stroke: #0969da } .dot.a { fill: #0969da }
polyline.b { stroke: #bc4c00 } .dot.b { fill: #bc4c00 }
polyline.c { stroke: #6e7781 } .dot.c { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .grid { stroke: #3d444d }
  polyline.a { stroke: #58a6ff } .dot.a { fill: #58a6ff }
  polyline.b { stroke: #f0883e } .dot.b { fill: #f0883e }
  polyline.c { stroke: #8b949e } .dot.c { fill: #8b949e }
}
</style>
${[...grid, ...ticks, ...lines].join("\n")}
<text x="${LEFT}" y="14">ms</text>
<text x="${(WIDTH - RIGHT + LEFT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">attachments on the host</text>
</svg>
`;
}

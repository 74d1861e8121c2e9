// The picture of host access in docs/: an SVG of what the kernel says of a host, a container and a neighbour. Pure.

/** A link as `ip -j -d address` shows it. */
export interface LinkFacts {
  readonly name: string;
  readonly mac: string;
  /** CIDRs. */
  readonly addresses: readonly string[];
  /** Of a sub-interface. */
  readonly kind?: string;
  readonly mode?: string;
  /** Name of the link that it is a sub-interface of; absent where that is in another namespace. */
  readonly parent?: string;
  readonly arp: boolean;
}

/** A namespace. All but the links and the kernel's routes carries Berth's protocol number; each is as `ip` prints it, shortened. */
export interface SpaceFacts {
  readonly name: string;
  readonly links: readonly LinkFacts[];
  /** The main table's routes of the kernel itself: to the prefixes of the addresses. */
  readonly kernelRoutes: readonly string[];
  readonly routes: readonly string[];
  readonly neighbours: readonly string[];
  readonly rules: readonly string[];
  /** Routes of the tables that the rules lead to. */
  readonly tables: readonly string[];
}

/** What is drawn. */
export interface PictureFacts {
  /** The LAN's CIDR. */
  readonly lan: string;
  readonly host: SpaceFacts;
  readonly container: SpaceFacts;
  readonly neighbour: SpaceFacts;
  /** What was tried by the way that is drawn as open, and answered. */
  readonly open: string;
  /** What was tried by the way that is drawn as refused, and not answered. */
  readonly refused: string;
}

const WIDTH = 1000;
const MARGIN = 24;
const ROW = 18;
const HEADING = 24;
const PORT_HEIGHT = 76;

interface Colours {
  readonly ground: string;
  readonly panel: string;
  readonly line: string;
  readonly ink: string;
  readonly faint: string;
  readonly berth: string;
  readonly refused: string;
}

const light: Colours = {
  ground: "#ffffff",
  panel: "#f6f8fa",
  line: "#c4ccd4",
  ink: "#1f2328",
  faint: "#59636e",
  berth: "#1a7f37",
  refused: "#cf222e",
};
const dark: Colours = {
  ground: "#0d1117",
  panel: "#161b22",
  line: "#3d444d",
  ink: "#e6edf3",
  faint: "#9198a1",
  berth: "#3fb950",
  refused: "#f85149",
};

// written out: not every viewer of SVG knows CSS variables
const coloured = (c: Colours): string => `
  text { fill: ${c.ink} }
  .faint { fill: ${c.faint} }
  text.berth, .tip { fill: ${c.berth} }
  text.refused { fill: ${c.refused} }
  .ground { fill: ${c.ground}; stroke: ${c.line} }
  .space { fill: ${c.panel}; stroke: ${c.line} }
  .port { fill: ${c.ground}; stroke: ${c.faint} }
  .made { fill: ${c.ground}; stroke: ${c.berth} }
  .cable, .lan { stroke: ${c.faint} }
  .others { stroke: ${c.line} }
  .way, .mark { stroke: ${c.berth} }
  .closed, .cross { stroke: ${c.refused} }`;

// Both sets of colours stand in the file, on a ground of their own: it may be shown on a page of either sort.
const style = `
  text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
  .fact { font: 12px ui-monospace, Menlo, "DejaVu Sans Mono", monospace }
  .title { font-weight: 600; font-size: 15px }
  .name { font-weight: 600 }
  .faint, .berth, .refused { font-size: 12px }
  path { fill: none; stroke-linejoin: round; stroke-linecap: round }
  .cable { stroke-width: 2 }
  .lan { stroke-width: 5 }
  .made { stroke-width: 1.5 }
  .way, .mark, .others { stroke-width: 3 }
  .closed { stroke-width: 2; stroke-dasharray: 6 6 }
  .cross { stroke-width: 4 }
${coloured(light)}
  @media (prefers-color-scheme: dark) {${coloured(dark).replaceAll("\n", "\n  ")}
  }
`;

type Class = "fact" | "title" | "name" | "faint" | "berth" | "refused";

function escape(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function text(
  x: number,
  y: number,
  kind: Class,
  content: string,
  anchor: "start" | "middle" | "end" = "start",
): string {
  const where = anchor === "start" ? "" : ` text-anchor="${anchor}"`;
  return `<text x="${x}" y="${y}" class="${kind}"${where}>${escape(content)}</text>`;
}

function box(x: number, y: number, width: number, height: number, kind: "ground" | "space" | "port" | "made"): string {
  return `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="8" class="${kind}"/>`;
}

function path(kind: "cable" | "lan" | "way" | "tip" | "mark" | "others" | "closed" | "cross", d: string): string {
  return `<path class="${kind}" d="${d}"/>`;
}

/** A list in a namespace: heading and rows, marked at the left. */
interface Group {
  readonly mark: "mark" | "others";
  readonly heading: string;
  readonly rows: readonly string[];
}

const heightOf = (groups: readonly Group[]): number =>
  groups.reduce((n, g) => n + HEADING + ROW * g.rows.length + 8, 0);

function drawGroups(x: number, top: number, groups: readonly Group[]): string[] {
  let y = top;
  return groups.flatMap(({ mark, heading, rows }) => {
    const start = y;
    y += HEADING + ROW * rows.length + 8;
    return [
      path(mark, `M${x} ${start + 4}V${start + HEADING + ROW * rows.length - 2}`),
      text(x + 14, start + 16, "faint", heading),
      ...rows.map((row, i) => text(x + 14, start + HEADING + 13 + ROW * i, "fact", row)),
    ];
  });
}

/** What Berth added in a namespace, by sort; a sort of which there is nothing is left out. */
function groupsOf(space: SpaceFacts): Group[] {
  const all: Group[] = [
    { mark: "mark", heading: "Berth's route", rows: space.routes },
    { mark: "mark", heading: "Berth's neighbour entry", rows: space.neighbours },
    { mark: "mark", heading: "Berth's rule, and the table that it leads to", rows: [...space.rules, ...space.tables] },
  ];
  return all.filter((g) => g.rows.length > 0);
}

/** A link in its namespace: name, role, address, MAC. */
function drawPort(x: number, y: number, width: number, link: LinkFacts, role: string, made: boolean): string[] {
  const quiet = link.arp ? "no address" : "no address, no ARP";
  return [
    box(x, y, width, PORT_HEIGHT, made ? "made" : "port"),
    text(x + 14, y + 23, "name", link.name),
    ...(role === "" ? [] : [text(x + width - 14, y + 23, made ? "berth" : "faint", role, "end")]),
    text(x + 14, y + 44, "fact", link.addresses.length === 0 ? quiet : link.addresses.join(", ")),
    text(x + 14, y + 63, "fact", link.mac),
  ];
}

/** An arrow's tip, upwards. */
function tip(x: number, y: number): string {
  return path("tip", `M${x} ${y}l-7 13h14z`);
}

/** A line of the legend: a piece of the line that it explains, and words. */
function drawLegend(x: number, y: number, kind: "way" | "closed", words: string): string[] {
  return [path(kind, `M${x} ${y - 4}h34`), text(x + 48, y, "faint", words)];
}

/** The one link of a list that is meant. Throws where there is none: then something else was built than this draws. */
function only(links: readonly LinkFacts[], what: string, is: (link: LinkFacts) => boolean): LinkFacts {
  const found = links.filter(is);
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  throw new Error(`there are ${found.length} links that are ${what}; one can be drawn`);
}

/** The SVG. Throws where the host has no access link, or the container or the neighbour not exactly one link. */
export function hostAccessSvg(facts: PictureFacts): string {
  const { host, container, neighbour } = facts;
  const access = only(host.links, "the host's access link", (l) => l.parent !== undefined);
  const parent = only(host.links, "the parent", (l) => l.name === access.parent);
  const inside = only(container.links, "the container's", () => true);
  const beside = only(neighbour.links, "the neighbour's", () => true);
  const before: Group = { mark: "others", heading: "the kernel's own route, less specific", rows: host.kernelRoutes };
  const [hostGroups, containerGroups] = [[...groupsOf(host), before], groupsOf(container)];

  const left = { x: MARGIN, width: 516 };
  const right = { x: 564, width: WIDTH - MARGIN - 564 };
  const top = MARGIN;
  const groupsTop = top + 42;
  const portTop = groupsTop + Math.max(heightOf(hostGroups), heightOf(containerGroups)) + 10;
  const portBottom = portTop + PORT_HEIGHT;
  const spaceHeight = portBottom + 16 - top;
  const under = { top: portBottom + 40, height: 96 };
  const underBottom = under.top + under.height;
  const lan = underBottom + 40;
  const height = lan + 24 + PORT_HEIGHT + 32 + MARGIN;
  const ports = { parent: left.x + 18, access: left.x + 268, inside: right.x + 18 };
  const width = 230;
  // where lines leave the boxes: the middle, and beside it where two leave one box
  const at = {
    parent: ports.parent + 115,
    access: ports.access + 115,
    inside: ports.inside + 100,
    neighbour: right.x + 60,
  };
  const [openY, closedY] = [under.top + 34, under.top + 70];
  const cable = at.parent - 24;
  const closedFrom = at.parent + 24;
  const closedTo = at.inside + 48;
  const crossX = (at.access + at.inside) / 2;

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title description">`,
    `<title id="title">The way between a host and its container by the access link</title>`,
    `<desc id="description">${escape(
      `The host reaches ${inside.addresses.join(", ")} in the namespace ${container.name} by its link ${access.name}, a ${access.kind ?? "sub-interface"} of ${parent.name} like the container's ${inside.name}. ` +
        `The kernel passes frames between two sub-interfaces of ${parent.name}, and none between ${parent.name} itself and a sub-interface of it.`,
    )}</desc>`,
    `<style>${style}</style>`,
    box(0.5, 0.5, WIDTH - 1, height - 1, "ground"),
    // the LAN, behind what is drawn over it
    path("cable", `M${cable} ${portBottom}V${lan}`),
    path("lan", `M${MARGIN + 4} ${lan}H${WIDTH - MARGIN - 4}`),
    text(cable + 14, lan - 14, "faint", `cable: how the LAN reaches host and container`),
    text(WIDTH - MARGIN - 4, lan - 14, "faint", `LAN ${facts.lan}`, "end"),
    // the namespaces
    box(left.x, top, left.width, spaceHeight, "space"),
    text(left.x + 18, top + 28, "title", host.name),
    ...drawGroups(left.x + 20, groupsTop, hostGroups),
    box(right.x, top, right.width, spaceHeight, "space"),
    text(right.x + 18, top + 28, "title", container.name),
    ...drawGroups(right.x + 20, groupsTop, containerGroups),
    ...drawPort(ports.parent, portTop, width, parent, "parent", false),
    ...drawPort(ports.access, portTop, width, access, "access link", true),
    ...drawPort(ports.inside, portTop, width, inside, `${inside.kind ?? ""} of ${parent.name}`, false),
    // what happens under the parent
    box(left.x, under.top, WIDTH - 2 * MARGIN, under.height, "space"),
    path("cable", `M${cable} ${portBottom}V${lan}`),
    text(WIDTH - MARGIN - 18, under.top + 24, "faint", `under ${parent.name}: macvlan,`, "end"),
    text(WIDTH - MARGIN - 18, under.top + 41, "faint", `mode ${inside.mode ?? "?"}`, "end"),
    path("closed", `M${closedFrom} ${portBottom}V${closedY}H${closedTo}V${portBottom + 4}`),
    path("cross", `M${crossX - 9} ${closedY - 9}l18 18m0 -18l-18 18`),
    text(crossX - 22, closedY + 18, "refused", facts.refused, "end"),
    path("way", `M${at.access} ${portBottom + 12}V${openY}H${at.inside}V${portBottom + 12}`),
    tip(at.access, portBottom + 2),
    tip(at.inside, portBottom + 2),
    text(crossX, openY - 9, "berth", facts.open, "middle"),
    // the neighbour
    box(right.x, lan + 24, right.width, PORT_HEIGHT + 32, "space"),
    path("cable", `M${at.neighbour} ${lan}V${lan + 40}`),
    text(right.x + 18, lan + 52, "title", neighbour.name),
    ...drawPort(right.x + right.width - width - 16, lan + 40, width, beside, "", false),
    // the legend
    ...drawLegend(left.x + 18, lan + 52, "way", `from sub-interface to sub-interface of ${parent.name}: passed on`),
    ...drawLegend(left.x + 18, lan + 78, "closed", `between ${parent.name} itself and its sub-interfaces: never`),
    path("mark", `M${left.x + 35} ${lan + 92}v14`),
    text(left.x + 66, lan + 104, "faint", `what Berth added to the routing of host and container`),
    "</svg>",
    "",
  ].join("\n");
}

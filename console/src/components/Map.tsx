// The system as a map, with what waits at each place, and orders that move as their events come.

import { useEffect, useRef } from "preact/hooks";
import { seconds, whole } from "../format.ts";
import { useMedia } from "../hooks.ts";
import { onEvents } from "../live.ts";
import { href } from "../router.ts";
import type { Today } from "../stats.ts";
import type { OrderEvent, Queue } from "../types.ts";
import { EDGES, edgePath, NODES, type Node, type Place, placeOf, SIZES } from "./mapLayout.ts";

const MOST_DOTS = 60;
const SPREAD = 110; // orders of one moment do not move as one
const LINGER = 2500; // an order waits for its decision this long in sight
const SPEED = { wide: 0.42, tall: 0.34 }; // of the map's units a millisecond

interface Props {
  queues: Queue[] | undefined;
  today: Today | undefined;
}

export function PipelineMap({ queues, today }: Props) {
  const tall = useMedia("(max-width: 760px)");
  const still = useMedia("(prefers-reduced-motion: reduce)");
  const layout = tall ? "tall" : "wide";
  const svg = useRef<SVGSVGElement>(null);
  useEffect(() => {
    if (still || !svg.current) return;
    return moveDots(svg.current, SPEED[layout]);
  }, [still, layout]);
  const { width, height } = SIZES[layout];
  const byName = new Map(queues?.map((queue) => [queue.name, queue]));
  return (
    // biome-ignore lint/a11y/useSemanticElements: an SVG is no fieldset
    <svg
      ref={svg}
      class={`map ${layout}`}
      viewBox={`0 0 ${width} ${height}`}
      role="group"
      aria-label="Map of the system"
    >
      {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: lines take no focus */}
      <g class="edges" aria-hidden="true">
        {EDGES.map((edge) => {
          const path = edgePath(edge, layout);
          return path && <path key={edge.id} data-edge={edge.id} class={edge.kind} d={path} />;
        })}
      </g>
      {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: dots neither */}
      <g class="dots-layer" aria-hidden="true" />
      {NODES.map((node) => (
        <Box
          key={node.id}
          node={node}
          place={placeOf(node, layout)}
          queue={byName.get(node.queue ?? "")}
          today={today}
        />
      ))}
    </svg>
  );
}

function Box({
  node,
  place,
  queue,
  today,
}: {
  node: Node;
  place: Place;
  queue: Queue | undefined;
  today: Today | undefined;
}) {
  const { x, y, w, h } = place;
  const left = x - w / 2;
  const top = y - h / 2;
  const line = figures(node, queue, today);
  const busy = (queue?.waiting ?? 0) + (queue?.inFlight ?? 0) > 0;
  const end = node.kind === "end";
  return (
    <g class={`node ${node.kind} ${node.tone ?? ""} ${busy ? "busy" : ""}`}>
      <title>{node.about}</title>
      <rect x={left} y={top} width={w} height={h} rx={end || node.kind === "topic" ? h / 2 : 9} />
      <text x={x} y={end ? y + 5 : top + 21} class="name">
        {end ? `${node.name} ${line}` : node.name}
      </text>
      {!end && node.sub && (
        <text x={x} y={top + 37} class="sub">
          {queue?.oldestSeconds ? `oldest ${seconds(queue.oldestSeconds)}` : node.sub}
        </text>
      )}
      {!end && line && (
        <text x={x} y={top + h - 10} class="figures">
          {line}
        </text>
      )}
      {queue?.deadLetters ? (
        <a href={href(["dead-letters", queue.name])} class="dead" aria-label={deadWords(queue)}>
          <rect x={left + w - 62} y={top - 12} width={70} height={22} rx={11} />
          <text x={left + w - 27} y={top + 4}>
            ✕ {whole(queue.deadLetters)} dead
          </text>
        </a>
      ) : null}
    </g>
  );
}

const deadWords = (queue: Queue): string =>
  `${whole(queue.deadLetters ?? 0)} dead letters of ${queue.name}: show them`;

/** What a place has to say, in a line. */
function figures(node: Node, queue: Queue | undefined, today: Today | undefined): string {
  if (node.count) {
    const count = today ? whole(node.count(today)) : "–";
    return node.kind === "end" ? count : `${count} today`;
  }
  if (queue?.kind !== "queue") return "";
  const { waiting = 0, inFlight = 0, delayed = 0 } = queue;
  if (node.id === "watch") return `${whole(waiting + delayed)} to check later`;
  return `${whole(waiting)} waiting · ${whole(inFlight)} in flight`;
}

// --- Orders on their way -------------------------------------------------------------------------------------------

interface Dot {
  circle: SVGCircleElement;
  way: SVGPathElement[];
  done: number; // of the first path of `way`
  restsSince: number;
  at: "decide" | "elsewhere";
}

const WAYS: Record<string, { main: string[]; tone: string; others?: string[][] }> = {
  "order.placed": {
    main: ["api-topic", "topic-balance", "balance-decide"],
    others: [["api-topic", "topic-stock", "stock-decide"]],
    tone: "",
  },
  "order.confirmed": { main: ["decide-ship"], tone: "" },
  "order.shipped": { main: ["ship-shipped"], tone: "good" },
  "order.rejected": { main: ["decide-refused"], tone: "bad" },
  "order.cancelled": { main: ["decide-ended"], tone: "muted" },
  "order.expired": { main: ["decide-ended"], tone: "muted" },
};
const PUBLISHED = ["table-publisher", "publisher-events", "events-socket"];

/** Draws a dot for each order as its events come. The page draws nothing while nothing moves. */
function moveDots(svg: SVGSVGElement, speed: number): () => void {
  const layer = svg.querySelector(".dots-layer");
  const orders = new Map<string, Dot>();
  const others = new Set<Dot>();
  const lengths = new Map<SVGPathElement, number>();
  let frame = 0;
  let before = 0;

  const pathsOf = (ids: string[]): SVGPathElement[] =>
    ids.flatMap((id) => svg.querySelector<SVGPathElement>(`[data-edge="${id}"]`) ?? []);
  const lengthOf = (path: SVGPathElement): number => {
    const known = lengths.get(path) ?? path.getTotalLength();
    lengths.set(path, known);
    return known;
  };
  const newDot = (tone: string, small: boolean): Dot => {
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    circle.setAttribute("r", small ? "3.5" : "6");
    circle.setAttribute("class", `dot ${tone}`);
    circle.setAttribute("cx", "-50");
    layer?.append(circle);
    return { circle, way: [], done: -Math.random() * SPREAD, restsSince: 0, at: "elsewhere" };
  };
  const sendAlong = (ids: string[], tone: string, small: boolean) => {
    if (orders.size + others.size >= MOST_DOTS) return;
    const dot = newDot(tone, small);
    dot.way = pathsOf(ids);
    others.add(dot);
  };

  const show = (events: OrderEvent[]) => {
    if (document.hidden) return;
    let published = false;
    for (const event of events) {
      const way = WAYS[event.type];
      if (!way) continue;
      let dot = orders.get(event.subject);
      if (!dot) {
        if (orders.size + others.size >= MOST_DOTS) continue;
        dot = newDot("", false);
        orders.set(event.subject, dot);
      }
      dot.way.push(...pathsOf(way.main));
      dot.circle.setAttribute("class", `dot ${way.tone}`);
      for (const other of way.others ?? []) sendAlong(other, "", false);
      if (!published) sendAlong(PUBLISHED, "muted", true);
      published = true;
    }
    if (!frame) {
      before = performance.now();
      frame = requestAnimationFrame(step);
    }
  };

  const advance = (dot: Dot, way: number, now: number): boolean => {
    const path = dot.way[0];
    if (!path) {
      dot.restsSince ||= now;
      return false;
    }
    dot.restsSince = 0;
    // What is behind hurries, so that the map does not lag the events.
    dot.done += way * (dot.way.length > 3 ? 2.2 : 1);
    const length = lengthOf(path);
    const point = path.getPointAtLength(Math.max(0, Math.min(dot.done, length)));
    dot.circle.setAttribute("cx", String(point.x));
    dot.circle.setAttribute("cy", String(point.y));
    if (dot.done >= length) {
      dot.done = 0;
      dot.way.shift();
      dot.at =
        path.dataset.edge?.endsWith("-decide") || path.dataset.edge === "decide-ship"
          ? "decide"
          : "elsewhere";
    }
    return true;
  };

  const step = (now: number) => {
    const way = Math.min(64, now - before) * speed;
    before = now;
    for (const dot of others) {
      if (advance(dot, way, now)) continue;
      dot.circle.remove();
      others.delete(dot);
    }
    for (const [id, dot] of orders) {
      if (advance(dot, way, now) || (dot.at === "decide" && now - dot.restsSince < LINGER)) continue;
      dot.circle.remove();
      orders.delete(id);
    }
    frame = orders.size + others.size ? requestAnimationFrame(step) : 0;
  };

  const forget = onEvents(show);
  return () => {
    forget();
    cancelAnimationFrame(frame);
    layer?.replaceChildren();
  };
}

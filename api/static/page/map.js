/** The map: the offline basemap, the zones by their newest state, and what is chosen. */
import { Map as MapLibre, setWorkerUrl } from "../vendor/maplibre-gl/maplibre-gl.mjs";
import { isOpen } from "./alerts.js";
import { STATES, alertMark, colour, fillOf, inkOf, isPatterned, patternOf, swatchOf } from "./states.js";
import { observedWords, stateName } from "./table.js";
import { element, say, write } from "./words.js";

setWorkerUrl(new URL("../vendor/maplibre-gl/maplibre-gl-worker.mjs", import.meta.url).href);

const EMPTY = { type: "FeatureCollection", features: [] };
const REGULAR = ["Noto Sans"];
// MapLibre reads the weight from the family's name; page.css gives the bold face this second name.
const BOLD = ["Noto Sans Semibold"];
const ALL_STATES = [...STATES, "null"];

const layerUrl = (name) => new URL(`../basemap/${name}.geojson`, import.meta.url).href;

/** Whether this browser can draw the map at all. */
export function canDraw() {
  const pen = document.createElement("canvas").getContext("webgl2");
  pen?.getExtension("WEBGL_lose_context")?.loseContext();
  return pen !== null;
}

export class BorderMap {
  #map;
  #room = document.getElementById("map");
  #tip = document.getElementById("tip");
  #zones = [];
  #alerts = new Map();
  #chosen = null;
  #whole = null;

  /** A map that calls `choose(zoneId)` when a zone is clicked. Fonts must have loaded: labels are drawn once. */
  constructor({ choose }) {
    this.#map = new MapLibre({
      container: this.#room,
      style: styleOf(),
      center: [106, 12],
      zoom: 5,
      maxZoom: 12,
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      renderWorldCopies: false,
      locale: { "Map.Title": say("map.label") },
    });
    this.#map.touchZoomRotate.disableRotation();
    this.#map.keyboard.disableRotation();
    this.#map.on("style.load", () => this.#furnish());
    this.#map.on("idle", () => {
      const painted = new Set(this.#map.queryRenderedFeatures({ layers: ["zones"] }).map((found) => found.properties.zone_id));
      this.#room.dataset.painted = String(painted.size);
      this.#room.dataset.idle = "true";
    });
    this.#map.on("click", (event) => {
      const found = this.#under(event.point);
      if (found) choose(found.properties.zone_id);
    });
    this.#map.on("mousemove", (event) => this.#point(event.point));
    this.#map.on("mouseout", () => this.#point(null));
    this.#room.after(this.#buttons());
  }

  #under(point) {
    const reach = 4;
    const around = [[point.x - reach, point.y - reach], [point.x + reach, point.y + reach]];
    const found = this.#map.queryRenderedFeatures(around, { layers: ["crossings", "zones"] });
    return found[0];
  }

  #point(point) {
    const found = point && this.#map.isStyleLoaded() ? this.#under(point) : null;
    this.#map.getCanvas().style.cursor = found ? "pointer" : "";
    this.#tip.hidden = !found;
    if (!found) return;
    const zone = this.#zones.find((one) => one.id === found.properties.zone_id);
    if (!zone) return;
    const { name, kind, state, arrival, departure } = zone.properties;
    this.#tip.replaceChildren(
      element("strong", {}, name),
      element("span", {}, swatchOf(state, kind), stateName(zone.properties)),
      ...(state === null
        ? []
        : [["arrival", arrival], ["departure", departure]].map(([direction, seen]) =>
            element("span", {}, `${say(`direction.${direction}`)}: ${observedWords(seen)}`),
          )),
    );
    const right = point.x > this.#room.clientWidth - 240;
    this.#tip.style.transform = `translate(${right ? point.x - 12 : point.x + 14}px, ${point.y + 14}px) translateX(${right ? "-100%" : "0"})`;
  }

  #buttons() {
    const button = (label, sign, onclick) =>
      element("button", { type: "button", title: say(label), "aria-label": say(label), onclick }, sign);
    return element(
      "div",
      { id: "zoom" },
      button("map.zoomIn", "+", () => this.#map.zoomIn()),
      button("map.zoomOut", "−", () => this.#map.zoomOut()),
      button("map.whole", "⤢", () => this.#fit(this.#whole)),
    );
  }

  /** Show the zones and the alerts on them. */
  show(zones, alerts, chosen) {
    this.#zones = zones;
    this.#alerts = alerts;
    this.#chosen = chosen;
    const whole = boundsOf(zones);
    if (whole && String(whole) !== String(this.#whole)) {
      this.#whole = whole;
      this.#fit(whole, 0);
    }
    this.#fill();
  }

  /** Bring zones into sight if they are not. */
  seek(zoneIds) {
    const wanted = boundsOf(this.#zones.filter((zone) => zoneIds.includes(zone.id)));
    if (!wanted) return;
    const [west, south, east, north] = wanted;
    const shown = this.#map.getBounds();
    if (!shown.contains([west, south]) || !shown.contains([east, north])) this.#fit(wanted);
  }

  #fit(bounds, duration = 600) {
    if (!bounds) return;
    const legend = document.getElementById("legend");
    const beside = getComputedStyle(legend).position === "absolute" ? legend.offsetWidth + 12 : 0;
    const padding = { top: 28, bottom: 28, left: beside + 24, right: 64 };
    this.#map.fitBounds(bounds, { padding, maxZoom: 9, duration });
  }

  /** Draw again in the colours of now. */
  recolour() {
    this.#room.dataset.idle = "false";
    this.#map.setStyle(styleOf(), { diff: false });
  }

  #furnish() {
    for (const state of ALL_STATES.filter(isPatterned)) {
      this.#map.addImage(`pattern-${state}`, patternOf(state), { pixelRatio: 2 });
    }
    this.#map.addImage("alert-mark", alertMark(), { pixelRatio: 2 });
    this.#fill();
  }

  #fill() {
    const source = this.#map.getSource("zones");
    if (!source) return;
    this.#room.dataset.idle = "false";
    const alerted = new Set([...this.#alerts.values()].filter(isOpen).flatMap((alert) => alert.zone_ids));
    const features = this.#zones.map(({ id, geometry, properties: { name, kind, state } }) => ({
      type: "Feature",
      geometry,
      properties: { zone_id: id, name, kind, state: state ?? "null", alerted: alerted.has(id), chosen: id === this.#chosen },
    }));
    source.setData({ type: "FeatureCollection", features });
    this.#map.getSource("marks").setData({
      type: "FeatureCollection",
      features: features.map((feature) => ({ ...feature, geometry: { type: "Point", coordinates: middleOf(feature.geometry) } })),
    });
    this.#room.dataset.zones = String(features.length);
  }
}

/** Show what the colours mean. */
export function showLegend() {
  const entry = (picture, words) => element("li", {}, picture, words);
  document.getElementById("legend").replaceChildren(
    element("h3", {}, say("legend.title")),
    element(
      "ul",
      {},
      ...STATES.map((state) => entry(swatchOf(state), say(`state.${state}`))),
      entry(element("span", { class: "mark", "aria-hidden": "true" }, "▲"), say("legend.alert")),
      entry(element("span", { class: "gate", "aria-hidden": "true" }), say("legend.crossing")),
    ),
  );
}

/** Where the map comes from; always in sight. */
export function showAttribution(ofZones) {
  const sources = [say("map.attribution")];
  if (typeof ofZones === "string" && ofZones) sources.push(say("map.zones", { attribution: ofZones.replace(/\.$/, "") }));
  sources.push(say("footer.borders"));
  write(document.getElementById("attribution"), sources.join(" "));
}

/** The style: land, zones, rivers over them to find one's way, names on top. Without `glyphs`, text is drawn from the page's own fonts. */
function styleOf() {
  const byState = (of) => ["match", ["get", "state"], ...ALL_STATES.flatMap((state) => [state, of(state)]), of("null")];
  const kind = (name) => ["==", ["get", "kind"], name];
  const geojson = (name) => ({ type: "geojson", data: layerUrl(name) });
  const label = (ranks, size, font, minzoom, padding = 6) => ({
    type: "symbol",
    source: "names",
    minzoom,
    filter: ["in", ["get", "rank"], ["literal", ranks]],
    layout: {
      "text-field": ["get", "name"],
      "text-font": font,
      "text-size": size,
      "text-padding": padding,
      "text-max-width": 8,
      "symbol-sort-key": ["get", "rank"],
    },
    paint: { "text-color": colour("map-name"), "text-halo-color": colour("map-halo"), "text-halo-width": 1.4 },
  });
  return {
    version: 8,
    sources: {
      ...Object.fromEntries(["land", "water", "borders", "names"].map((name) => [name, geojson(name)])),
      zones: { type: "geojson", data: EMPTY, promoteId: "zone_id" },
      marks: { type: "geojson", data: EMPTY },
    },
    layers: [
      { id: "sea", type: "background", paint: { "background-color": colour("map-water") } },
      { id: "land", type: "fill", source: "land", paint: { "fill-color": colour("map-land"), "fill-antialias": false } },
      {
        id: "lakes", type: "fill", source: "water", filter: ["==", ["geometry-type"], "Polygon"],
        paint: { "fill-color": colour("map-water") },
      },
      {
        id: "zones", type: "fill", source: "zones",
        paint: { "fill-color": byState(fillOf) },
      },
      {
        id: "rivers", type: "line", source: "water", filter: ["==", ["geometry-type"], "LineString"],
        paint: { "line-color": colour("map-water"), "line-width": ["interpolate", ["linear"], ["zoom"], 5, 0.8, 10, 3] },
      },
      {
        id: "zone-patterns", type: "fill", source: "zones",
        filter: ["in", ["get", "state"], ["literal", ALL_STATES.filter(isPatterned)]],
        paint: { "fill-pattern": ["concat", "pattern-", ["get", "state"]] },
      },
      {
        id: "zone-edges", type: "line", source: "zones",
        paint: { "line-color": byState(inkOf), "line-width": 0.9, "line-opacity": 0.8 },
      },
      {
        id: "borders", type: "line", source: "borders", layout: { "line-join": "round" },
        paint: { "line-color": colour("map-border"), "line-width": ["interpolate", ["linear"], ["zoom"], 4, 1, 10, 2.2], "line-dasharray": [5, 2, 1, 2] },
      },
      {
        id: "alerted", type: "line", source: "zones", filter: ["get", "alerted"], layout: { "line-join": "round" },
        paint: { "line-color": colour("alerted"), "line-width": 2 },
      },
      {
        id: "crossings", type: "circle", source: "marks", filter: kind("crossing_point"),
        paint: {
          "circle-radius": ["interpolate", ["linear"], ["zoom"], 5, 2.5, 9, 5],
          "circle-color": byState(fillOf),
          "circle-stroke-color": colour("ink"),
          "circle-stroke-width": 1.2,
        },
      },
      {
        id: "chosen-under", type: "line", source: "zones", filter: ["get", "chosen"], layout: { "line-join": "round" },
        paint: { "line-color": colour("page"), "line-width": 6 },
      },
      {
        id: "chosen", type: "line", source: "zones", filter: ["get", "chosen"], layout: { "line-join": "round" },
        paint: { "line-color": colour("accent"), "line-width": 3 },
      },
      { id: "villages", ...label([4], 11, REGULAR, 9.2) },
      { id: "towns", ...label([3], 11.5, REGULAR, 7.6) },
      { id: "cities", ...label([1, 2], 12.5, REGULAR, 5) },
      {
        id: "countries", ...label([0], ["interpolate", ["linear"], ["zoom"], 4, 12, 8, 19], BOLD, 3, 60),
        paint: { "text-color": colour("map-country"), "text-halo-color": colour("map-halo"), "text-halo-width": 1.6 },
      },
      {
        id: "alert-marks", type: "symbol", source: "marks", filter: ["get", "alerted"],
        layout: {
          "icon-image": "alert-mark",
          "icon-size": ["interpolate", ["linear"], ["zoom"], 5, 0.65, 9, 1.1],
          "icon-allow-overlap": true,
          "icon-ignore-placement": true,
        },
      },
    ],
  };
}

function ringsOf(geometry) {
  if (!geometry) return [];
  return geometry.type === "Polygon" ? [geometry.coordinates[0]] : geometry.coordinates.map((polygon) => polygon[0]);
}

function boundsOf(zones) {
  const points = zones.flatMap((zone) => ringsOf(zone.geometry).flat());
  if (!points.length) return null;
  const [lons, lats] = [points.map(([lon]) => lon), points.map(([, lat]) => lat)];
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  return [least(lons), least(lats), most(lons), most(lats)];
}

/** The centroid of a geometry's largest ring. */
function middleOf(geometry) {
  let best = [0, 0];
  let largest = 0;
  for (const ring of ringsOf(geometry)) {
    let [twice, x, y] = [0, 0, 0];
    const [lon0, lat0] = ring[0];
    for (let i = 0; i + 1 < ring.length; i++) {
      const [x1, y1, x2, y2] = [ring[i][0] - lon0, ring[i][1] - lat0, ring[i + 1][0] - lon0, ring[i + 1][1] - lat0];
      const piece = x1 * y2 - x2 * y1;
      twice += piece;
      x += (x1 + x2) * piece;
      y += (y1 + y2) * piece;
    }
    if (Math.abs(twice) > largest) {
      largest = Math.abs(twice);
      best = [lon0 + x / (3 * twice), lat0 + y / (3 * twice)];
    }
  }
  return best;
}

"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const sheet = byId("sheet"), canvas = byId("map"), pen = canvas.getContext("2d"), tip = byId("tip");
  const total = data.x.length;
  // A style is how a mark looks: one for each group, or one for each step of a scale. The last one is "none".
  const styles = data.styles, none = styles.length - 1;
  const styleOf = data.style;
  const shown = new Uint8Array(styles.length).fill(1);
  let found = null, foundCount = 0;
  let hovered = -1, pinned = -1;
  let names = true;
  // Data to page: px = x * zoom + left.
  let zoom = 1, left = 0, top = 0, least = 1;
  let width = 0, height = 0, ratio = 1;
  let waiting = false;

  // ---- where things are -------------------------------------------------------------------------------------------
  const extent = data.extent;
  const CELLS = 256;
  const cellOf = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor((value / extent) * CELLS)));
  const starts = new Int32Array(CELLS * CELLS + 1), inCells = new Int32Array(total);
  for (let i = 0; i < total; i++) starts[cellOf(data.y[i]) * CELLS + cellOf(data.x[i]) + 1]++;
  for (let c = 0; c < CELLS * CELLS; c++) starts[c + 1] += starts[c];
  const next = starts.slice();
  for (let i = 0; i < total; i++) inCells[next[cellOf(data.y[i]) * CELLS + cellOf(data.x[i])]++] = i;

  const visible = (i) => shown[styleOf[i]] === 1;

  /** The visible point nearest to a place on the page, within `reach` pixels; -1 when there is none. */
  function nearest(px, py, reach) {
    const x = (px - left) / zoom, y = (py - top) / zoom, r = reach / zoom;
    let best = -1, least = r * r;
    for (let cy = cellOf(y - r); cy <= cellOf(y + r); cy++) {
      for (let cx = cellOf(x - r); cx <= cellOf(x + r); cx++) {
        for (let k = starts[cy * CELLS + cx]; k < starts[cy * CELLS + cx + 1]; k++) {
          const i = inCells[k], dx = data.x[i] - x, dy = data.y[i] - y, d = dx * dx + dy * dy;
          if (d <= least && visible(i) && (!found || found[i])) { least = d; best = i; }
        }
      }
    }
    return best;
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------
  const CORNERS = [
    null,
    [[-.89, -.89], [.89, -.89], [.89, .89], [-.89, .89]],
    [[0, -1.4], [1.25, .8], [-1.25, .8]],
    [[0, -1.35], [1.15, 0], [0, 1.35], [-1.15, 0]],
    [[-.42, -1.25], [.42, -1.25], [.42, -.42], [1.25, -.42], [1.25, .42], [.42, .42], [.42, 1.25], [-.42, 1.25],
      [-.42, .42], [-1.25, .42], [-1.25, -.42], [-.42, -.42]],
  ];

  function trace(pen, shape, x, y, r) {
    pen.beginPath();
    const corners = CORNERS[shape];
    if (!corners) { pen.arc(x, y, r, 0, Math.PI * 2); return; }
    corners.forEach(([dx, dy], at) => (at ? pen.lineTo(x + dx * r, y + dy * r) : pen.moveTo(x + dx * r, y + dy * r)));
    pen.closePath();
  }

  /** A picture of each mark, drawn once for a radius and stamped many times. */
  let stamps = [], stampsFor = "";
  function prepareStamps(r) {
    const key = r.toFixed(2) + "@" + ratio;
    if (key === stampsFor) return;
    stampsFor = key;
    stamps = styles.map((style) => {
      const stamp = document.createElement("canvas");
      stamp.width = stamp.height = Math.ceil((r * 1.45 + 1) * 2 * ratio);
      const pen = stamp.getContext("2d");
      pen.scale(ratio, ratio);
      const middle = stamp.width / 2 / ratio;
      trace(pen, style.shape, middle, middle, r);
      pen.fillStyle = style.colour;
      pen.fill();
      if (r > 2.5) { pen.lineWidth = .6; pen.strokeStyle = "#fff"; pen.stroke(); }
      return stamp;
    });
  }

  /** Marks grow with the zoom, slower than distances do. */
  const radius = () => {
    const base = Math.min(6, Math.max(1.4, 48 / Math.pow(Math.max(1, total), .36)));
    return Math.min(9, base * Math.pow(zoom / least, .4));
  };

  function draw() {
    waiting = false;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const r = radius(), opacity = Math.min(.85, Math.max(.5, .85 - .09 * Math.log10(Math.max(1, total / 100))));
    prepareStamps(r);
    const passes = found ? [[0, .1], [1, .95]] : [[-1, opacity]];
    const half = stamps.length ? stamps[0].width / 2 / ratio : 0;
    for (const [wanted, alpha] of passes) {
      pen.globalAlpha = alpha;
      for (let i = 0; i < total; i++) {
        if (wanted >= 0 && found[i] !== wanted) continue;
        const style = styleOf[i];
        if (!shown[style]) continue;
        const px = data.x[i] * zoom + left, py = data.y[i] * zoom + top;
        if (px < -r || py < -r || px > width + r || py > height + r) continue;
        if (r < 1.8) { pen.fillStyle = styles[style].colour; pen.fillRect(px - r, py - r, 2 * r, 2 * r); }
        else pen.drawImage(stamps[style], px - half, py - half, 2 * half, 2 * half);
      }
    }
    pen.globalAlpha = 1;
    for (const i of [pinned, hovered]) {
      if (i < 0 || !visible(i)) continue;
      trace(pen, styles[styleOf[i]].shape, data.x[i] * zoom + left, data.y[i] * zoom + top, r + 3);
      pen.lineWidth = 2;
      pen.strokeStyle = "#1f2933";
      pen.stroke();
    }
    if (names) drawNames();
  }

  /** Names of groups at their places; one that would cover another, larger group's is left out until there is room. */
  function drawNames() {
    pen.font = "600 13px system-ui, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const taken = [];
    for (const [group, x, y] of data.anchors) {
      if (!shown[group]) continue;
      let label = styles[group].label;
      if (label.length > 34) label = label.slice(0, 33).trimEnd() + "…";
      const at = x * zoom + left, py = y * zoom + top;
      if (at < 0 || at > width || py < 0 || py > height) continue;
      const w = pen.measureText(label).width / 2 + 6, h = 11, px = Math.max(w, Math.min(width - w, at));
      const spot = [0, -24, 24, -48, 48].map((move) => py + move).find((y) =>
        !taken.some(([l, t, r, b]) => px - w < r && l < px + w && y - h < b && t < y + h));
      if (spot === undefined) continue;
      taken.push([px - w, spot - h, px + w, spot + h]);
      pen.globalAlpha = .82;
      pen.fillStyle = "#fff";
      pen.fillRect(px - w, spot - h, 2 * w, 2 * h);
      pen.globalAlpha = 1;
      pen.fillStyle = "#1f2933";
      pen.fillText(label, px, spot);
    }
  }

  function redraw() {
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  }

  // ---- moving -----------------------------------------------------------------------------------------------------
  function fit() {
    const room = 28, [w, h] = data.size;
    least = Math.min((width - 2 * room) / Math.max(1, w), (height - 2 * room) / Math.max(1, h));
    if (!(least > 0)) least = 1;
    zoom = least;
    left = (width - w * zoom) / 2;
    top = (height - h * zoom) / 2;
  }

  function resize() {
    const middle = [(width / 2 - left) / zoom, (height / 2 - top) / zoom], before = zoom / least, first = width === 0;
    ratio = window.devicePixelRatio || 1;
    width = sheet.clientWidth;
    height = sheet.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    fit();
    if (!first && before > 1.001) {
      zoom = least * before;
      left = width / 2 - middle[0] * zoom;
      top = height / 2 - middle[1] * zoom;
    }
    redraw();
  }

  function zoomAt(px, py, factor) {
    const wanted = Math.min(least * 400, Math.max(least * .5, zoom * factor)), change = wanted / zoom;
    left = px - (px - left) * change;
    top = py - (py - top) * change;
    zoom = wanted;
    placeTip();
    redraw();
  }

  function pan(dx, dy) {
    left += dx;
    top += dy;
    placeTip();
    redraw();
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const pointers = new Map();
  let moved = 0;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    if (pointers.size === 1) moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event), before = pointers.get(event.pointerId);
    if (!before) { point(now); return; }
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const spread = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
      zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, spread(now) / Math.max(1, spread(before)));
      moved = 99;
    } else {
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (moved > 3) { canvas.classList.add("dragging"); pan(now[0] - before[0], now[1] - before[1]); }
    }
    pointers.set(event.pointerId, now);
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    canvas.classList.remove("dragging");
    if (event.type === "pointerup" && moved <= 3) {
      const [px, py] = place(event);
      pinned = nearest(px, py, Math.max(10, radius() + 5));
      hovered = -1;
      showTip();
      redraw();
    }
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { if (hovered >= 0) { hovered = -1; showTip(); redraw(); } });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [px, py] = place(event);
    zoomAt(px, py, Math.exp(-event.deltaY * (event.deltaMode ? .05 : .0016)));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoomAt(...place(event), 2));
  canvas.addEventListener("keydown", (event) => {
    const act = {
      ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
      "+": () => zoomAt(width / 2, height / 2, 1.4), "=": () => zoomAt(width / 2, height / 2, 1.4),
      "-": () => zoomAt(width / 2, height / 2, 1 / 1.4), "0": () => { fit(); placeTip(); redraw(); },
      Escape: () => { pinned = -1; showTip(); redraw(); },
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  byId("whole").addEventListener("click", () => { fit(); placeTip(); redraw(); });

  // ---- what a point is --------------------------------------------------------------------------------------------
  function point([px, py]) {
    const now = nearest(px, py, Math.max(7, radius() + 3));
    if (now === hovered) return;
    hovered = now;
    canvas.classList.toggle("pointing", now >= 0);
    showTip();
    redraw();
  }

  function showTip() {
    const i = hovered >= 0 ? hovered : pinned;
    tip.hidden = i < 0;
    if (i < 0) return;
    tip.classList.toggle("pinned", hovered < 0 || hovered === pinned);
    tip.replaceChildren();
    const words = data.values ? (data.values[i] === null ? "none" : `${data.scale.name}: ${data.values[i]}`)
      : styles.length > 2 || styleOf[i] === none ? styles[styleOf[i]].label : "";
    if (words) {
      const group = document.createElement("div");
      group.className = "group";
      group.append(swatch(styles[styleOf[i]]), words);
      tip.append(group);
    }
    const [heading, ...lines] = (data.hover[i] || "").split("\n");
    if (heading) {
      const bold = document.createElement("b");
      bold.textContent = heading;
      tip.append(bold, lines.join("\n"));
    }
    placeTip();
  }

  function placeTip() {
    const i = hovered >= 0 ? hovered : pinned;
    if (i < 0) return;
    const px = data.x[i] * zoom + left, py = data.y[i] * zoom + top, w = tip.offsetWidth, h = tip.offsetHeight;
    const beside = px + 14 + w < width ? px + 14 : px - 14 - w;
    tip.style.left = Math.max(4, Math.min(width - w - 4, beside)) + "px";
    tip.style.top = Math.max(4, Math.min(height - h - 4, py - h / 2)) + "px";
  }

  // ---- legend -----------------------------------------------------------------------------------------------------
  function swatch(style) {
    const name = "http://www.w3.org/2000/svg", svg = document.createElementNS(name, "svg");
    svg.setAttribute("width", 14);
    svg.setAttribute("height", 14);
    svg.setAttribute("viewBox", "-8 -8 16 16");
    svg.setAttribute("aria-hidden", "true");
    const corners = CORNERS[style.shape], mark = document.createElementNS(name, corners ? "path" : "circle");
    if (corners) mark.setAttribute("d", "M" + corners.map(([x, y]) => `${x * 5.2} ${y * 5.2}`).join("L") + "z");
    else mark.setAttribute("r", 5.6);
    mark.setAttribute("fill", style.colour);
    svg.append(mark);
    return svg;
  }

  const list = byId("legend"), buttons = [];
  const listed = styles.map((_, at) => at).filter((at) => styles[at].count > 0 && (!data.values || at === none));
  function showOnly(test) {
    listed.forEach((at) => { shown[at] = test(at) ? 1 : 0; });
    buttons.forEach(([at, button]) => button.setAttribute("aria-pressed", shown[at] === 1));
    if (pinned >= 0 && !visible(pinned)) { pinned = -1; showTip(); }
    redraw();
  }
  for (const at of listed) {
    const item = document.createElement("li"), button = document.createElement("button");
    const label = document.createElement("span"), count = document.createElement("span");
    label.className = "label";
    label.textContent = styles[at].label;
    count.className = "count";
    count.textContent = styles[at].count.toLocaleString("en");
    button.type = "button";
    button.title = "Click to hide or show; Shift-click to show only this";
    button.setAttribute("aria-pressed", "true");
    button.append(swatch(styles[at]), label, count);
    button.addEventListener("click", (event) =>
      showOnly(event.shiftKey ? (other) => other === at : (other) => (other === at ? !shown[at] : shown[other])));
    item.append(button);
    list.append(item);
    buttons.push([at, button]);
  }
  byId("show-all").addEventListener("click", () => showOnly(() => true));
  byId("show-none").addEventListener("click", () => showOnly(() => false));
  byId("all").hidden = listed.length < 2;

  if (data.scale && data.scale.ticks.length) {
    const ramp = byId("ramp"), column = ramp.querySelector("canvas"), steps = none;
    byId("scale-name").textContent = data.scale.name;
    column.width = 1;
    column.height = steps;
    const pen = column.getContext("2d");
    for (let at = 0; at < steps; at++) { pen.fillStyle = styles[at].colour; pen.fillRect(0, steps - 1 - at, 1, 1); }
    for (const [words, share] of data.scale.ticks) {
      const item = document.createElement("li");
      item.textContent = words;
      item.style.top = (1 - share) * 100 + "%";
      ramp.querySelector("ol").append(item);
    }
    byId("scale").hidden = false;
  }

  // ---- search -----------------------------------------------------------------------------------------------------
  let lower = null;
  byId("search").addEventListener("input", (event) => {
    const words = event.target.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    lower = lower || data.hover.map((text) => text.toLocaleLowerCase());
    found = null;
    foundCount = 0;
    if (words.length) {
      found = new Uint8Array(total);
      for (let i = 0; i < total; i++) {
        if (words.every((word) => (lower[i] || "").includes(word))) { found[i] = 1; foundCount++; }
      }
    }
    byId("found").textContent = words.length ? `${foundCount.toLocaleString("en")} found` : "";
    redraw();
  });
  byId("names").addEventListener("change", (event) => { names = event.target.checked; redraw(); });
  byId("names").parentElement.hidden = data.anchors.length === 0;
  byId("search").hidden = !data.hover.some(Boolean);

  new ResizeObserver(resize).observe(sheet);
  resize();
})();

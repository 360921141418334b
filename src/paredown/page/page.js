(function () {
  "use strict";
  const frame = document.getElementById("map-frame");
  if (!frame) return;
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const svg = frame.querySelector("svg");
  const circles = Array.from(frame.querySelectorAll("#map-points circle"));
  const xs = circles.map(c => c.cx.baseVal.value), ys = circles.map(c => c.cy.baseVal.value);
  const ring = document.getElementById("map-ring");
  const picture = document.getElementById("map-picture");
  const text = document.getElementById("map-text");
  const table = document.getElementById("map-facts");
  const key = document.getElementById("map-key");
  let current = -1;

  function number(value) { return value === null ? "–" : String(Number(value.toPrecision(3))); }

  function facts(i) {
    const rows = [["id", data.key[i]], ["label", data.classes[data.label[i]]]];
    if (data.score) rows.push(["score", number(data.score[i])]);
    rows.push(["confidence", number(data.confidence[i])], ["variability", number(data.variability[i])]);
    rows.push(["correct in", Math.round(100 * data.correctness[i]) + "\u00a0% of epochs"]);
    if (data.never && data.never[i]) rows.push(["learnt", "never"]);
    const by = data.choices.filter((_, bit) => data.kept[i] >> bit & 1);
    rows.push(["kept", by.length ? (data.choices.length > 1 ? by.join(", ") : "yes") : "no"]);
    return rows;
  }

  function show(i) {
    if (i === current || i < 0) return;
    current = i;
    ring.setAttribute("cx", xs[i]);
    ring.setAttribute("cy", ys[i]);
    ring.setAttribute("r", 5);
    table.replaceChildren();
    for (const [word, value] of facts(i)) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = word;
      dd.textContent = value;
      table.append(dt, dd);
    }
    if (text) text.textContent = data.text[i];
    if (picture) {
      const place = data.picture[i], column = place % data.columns, row = Math.floor(place / data.columns);
      const across = data.columns > 1 ? 100 * column / (data.columns - 1) : 0;
      const down = data.rows > 1 ? 100 * row / (data.rows - 1) : 0;
      picture.style.backgroundPosition = across + "% " + down + "%";
      picture.setAttribute("aria-label", data.classes[data.label[i]] + ", id " + data.key[i]);
    }
  }

  function nearest(event) {
    const matrix = svg.getScreenCTM();
    if (!matrix) return -1;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    let best = -1, least = 30 * 30;
    for (let i = 0; i < xs.length; i++) {
      const d = (xs[i] - point.x) ** 2 + (ys[i] - point.y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  function entry(style, words) {
    const item = document.createElement("li"), mark = document.createElement("i");
    mark.setAttribute("style", style);
    item.append(mark, words);
    return item;
  }

  function colour(mode) {
    const bit = mode.startsWith("kept") ? Number(mode.slice(5)) : -1;
    const tone = i => mode === "score" ? data.tone[i] : Math.min(4, Math.floor(5 * data.correctness[i]));
    if (bit >= 0) frame.style.setProperty("--kept", "var(--" + data.colours[bit] + ")");
    circles.forEach((circle, i) => {
      circle.setAttribute("class", bit >= 0 ? (data.kept[i] >> bit & 1 ? "k" : "") : "t t" + tone(i));
    });
    const words = mode === "score"
      ? ["lowest fifth of scores", "second", "third", "fourth", "highest fifth"]
      : ["right in under 20 % of epochs", "20 to 40 %", "40 to 60 %", "60 to 80 %", "80 % and more"];
    key.replaceChildren(...(bit >= 0
      ? [entry("background: var(--" + data.colours[bit] + ")", "kept " + data.choices[bit]), entry("border: 1.5px solid var(--full)", "left out")]
      : words.map((word, t) => entry("background: var(--t" + t + ")", word))));
  }

  frame.addEventListener("pointermove", event => show(nearest(event)));
  frame.addEventListener("pointerdown", event => show(nearest(event)));
  frame.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 10, ArrowDown: -10 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Math.min(xs.length - 1, Math.max(0, current + step)));
  });
  document.querySelectorAll("input[name=map-mode]").forEach(input => input.addEventListener("change", () => colour(input.value)));
  const start = document.querySelector("input[name=map-mode]:checked");
  colour(start ? start.value : "kept-0");
  // Something to look at before the first hover: the least confident example shown.
  show(data.confidence.indexOf(Math.min(...data.confidence)));
})();

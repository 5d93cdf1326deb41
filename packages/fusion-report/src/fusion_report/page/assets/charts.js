// The charts: Vega-Lite with the page's rows and colours, without evaluating any code (the policy of the page forbids it).

const chosenValues = {};
let chartsDrawn = "";

function chartConfig() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const text = { labelColor: colour("--muted"), titleColor: colour("--ink"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: "transparent",
    font: style.getPropertyValue("--sans").trim(),
    view: { stroke: null },
    axis: { ...text, gridColor: colour("--line"), domainColor: colour("--line"), tickColor: colour("--line"), labelLimit: 160 },
    legend: { ...text, orient: "bottom", columns: window.innerWidth < 640 ? 2 : 4, labelLimit: 220, symbolOpacity: 1 },
    rule: { color: colour("--muted") },
    line: { color: colour("--accent") },
    circle: { color: colour("--accent") },
    point: { color: colour("--accent") },
    range: { category: systems.map(colourOf).concat(SYSTEM_COLOURS[mode()]) },
  };
}

async function showCharts(data, state) {
  const key = JSON.stringify([mode(), state.set, state.first, state.second, state.metric, window.innerWidth]);
  if (chartsDrawn === key) return;
  chartsDrawn = key;
  Object.assign(browser, { data, state });
  const cards = data.charts.map((chart) => chartCard(data, chart)).filter(Boolean);
  if (!cards.length) cards.push([make("p", { class: "nothing", text: "There is nothing to draw: no run has scores, gates or a log." }), null]);
  find("charts").replaceChildren(...cards.map(([card]) => card));
  for (const [, draw] of cards) if (draw) await draw();
}

function rowsOf(data, chart) {
  return chart.name === "clips" ? clipRows(data) : data.rows[chart.data];
}

function clipRows(data) {
  const set = currentSet();
  if (!set || set.outputs.length < 2) return [];
  const metric = chosenMetric(set, browser.state);
  const [first, second] = comparedOutputs(set, browser.state);
  const short = (text) => (text ?? "").slice(0, 160);
  return set.clips
    .map((clip, index) => ({
      id: clip.id,
      first: first.scores[metric]?.[index] ?? null,
      second: second.scores[metric]?.[index] ?? null,
      first_caption: short(first.captions[index]),
      second_caption: short(second.captions[index]),
    }))
    .filter((row) => isNumber(row.first) && isNumber(row.second));
}

function chartCard(data, chart) {
  const rows = rowsOf(data, chart);
  if (!rows.length) return null;
  const drawing = make("div", { class: "drawing", id: `chart-${chart.name}` });
  const draw = () => drawChart(drawing, data, chart);
  const fields = make("div", { class: "fields" }, ...chartFields(data, chart, rows, draw));
  const card = make("figure", { class: "chart" }, make("h2", { text: chart.title }), make("p", { text: chart.text }));
  card.append(...(fields.children.length ? [fields] : []), drawing);
  return [card, draw];
}

function chartFields(data, chart, rows, draw) {
  if (chart.name === "clips") return clipFields(data);
  return Object.entries(chart.parameters).map(([parameter, column]) => {
    const values = [...new Set(rows.map((row) => row[column]))];
    const select = make("select");
    const name = `${chart.name} ${parameter}`;
    chosenValues[name] = fillSelect(select, values.map((value) => [String(value), String(value)]), chosenValues[name] ?? preferred(values));
    select.addEventListener("change", () => {
      chosenValues[name] = select.value;
      draw();
    });
    const label = make("label", { text: parameter }, select);
    label.hidden = values.length < 2;
    return label;
  });
}

const preferred = (values) => ["CIDEr-D", "val CIDEr-D", "distractor"].find((name) => values.includes(name)) ?? values[0];

function clipFields(data) {
  const set = currentSet();
  const outputs = set.outputs.map((output) => [outputKey(output), outputName(output)]);
  const metrics = [...new Set(set.outputs.flatMap((output) => Object.keys(output.scores)))].map((name) => [name, data.metrics[name] ?? name]);
  const [first, second] = comparedOutputs(set, browser.state);
  const field = (name, title, choices, chosen) => {
    const select = make("select", { id: `charts-${name}` });
    fillSelect(select, choices, chosen);
    select.addEventListener("change", () => {
      const state = { ...browser.state, [name]: select.value, ...(name === "set" ? { first: undefined, second: undefined, metric: undefined } : {}) };
      history.replaceState(null, "", writeAddress(state));
      showCharts(data, state).then(() => find(`charts-${name}`)?.focus());
    });
    return make("label", { text: title }, select);
  };
  return [
    ...(data.sets.length > 1 ? [field("set", "clips of", data.sets.map((one) => [one.name, one.name]), set.name)] : []),
    field("first", "across", outputs, outputKey(first)),
    field("second", "upwards", outputs, outputKey(second)),
    field("metric", "score", metrics, chosenMetric(set, browser.state)),
  ];
}

function nameAxes(spec) {
  const [first, second] = comparedOutputs(currentSet(), browser.state).map(outputName);
  for (const { encoding } of spec.layer) Object.assign(encoding, { x: { ...encoding.x, title: first }, y: { ...encoding.y, title: second } });
}

function showUsedSystems(spec, used) {
  for (const { encoding } of spec.layer ?? [spec]) {
    if (encoding?.color?.field === "system") encoding.color.legend = { values: systems.filter((system) => used.includes(system)) };
  }
}

async function drawChart(drawing, data, chart) {
  const spec = structuredClone(chart.spec);
  const own = chart.name === "clips" ? clipRows(data) : data.rows[chart.data];
  spec.datasets = { ...spec.datasets, [chart.data]: own };
  spec.autosize = { type: "fit-x", contains: "padding" };
  if (chart.name === "clips") nameAxes(spec);
  else showUsedSystems(spec, [...new Set(own.map((row) => row.system))]);
  spec.description = `${chart.title}. ${chart.text}`;
  for (const parameter of spec.params ?? []) {
    const name = parameter.name?.replace("chosen_", "");
    if (`${chart.name} ${name}` in chosenValues) parameter.value = chosenValues[`${chart.name} ${name}`];
  }
  const options = { ast: true, actions: false, defaultStyle: false, renderer: "svg", config: chartConfig(), tooltip: { disableDefaultStyle: true } };
  const { view } = await window.vegaEmbed(drawing, spec, options);
  if (chart.name === "clips") {
    view.addEventListener("click", (_, item) => {
      if (item?.datum?.id) location.hash = writeAddress({ ...browser.state, clip: item.datum.id });
    });
  }
}

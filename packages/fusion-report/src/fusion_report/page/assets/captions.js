// What every run said of a clip: its caption, its scores, and the candidates that it chose from.

const LONG = 600; // characters of a caption that are shown at once
let marking = true;

const wordsOf = (text) => new Set(folded(text).match(/[\p{L}\p{N}']+/gu) ?? []);

// Small words are in every caption; to mark them would say nothing.
const SMALL = new Set("a an the and is are as of in on over with then before after afterwards while followed by later to it its at for from".split(" "));

function captionText(text, known) {
  const paragraph = make("p", { class: "caption", dir: "auto" });
  const cut = text.length > LONG ? text.slice(0, LONG) : text;
  paragraph.append(...marked(cut, known));
  if (cut !== text) {
    const unfold = make("button", { class: "unfold", type: "button", text: `show all ${text.length.toLocaleString("en")} characters` });
    unfold.addEventListener("click", () => paragraph.replaceChildren(...marked(text, known)));
    paragraph.append("… ", unfold);
  }
  return paragraph;
}

function marked(text, known) {
  if (!marking || !known.size) return [text];
  return text.split(/([\p{L}\p{N}']+)/u).map((part) => {
    const word = folded(part);
    return known.has(word) && !SMALL.has(word) ? make("span", { class: "shared", text: part }) : part;
  });
}

function scoreList(output, index, metrics, highest) {
  const list = make("dl", { class: "scores" });
  for (const [metric, values] of Object.entries(output.scores)) {
    const value = values[index];
    if (!isNumber(value)) continue;
    const name = metrics[metric] ?? metric;
    const bar = make("span");
    bar.style.width = `${Math.min(100, Math.max(0, (100 * value) / (highest[metric] || 1)))}%`;
    const meter = make("dd", { class: "bar-of", "aria-hidden": "true" }, bar);
    list.append(make("div", {}, make("dt", { text: name }), make("dd", { text: value.toFixed(2) }), meter));
  }
  return list;
}

function candidateTable(output, index) {
  const candidates = output.candidates?.[index];
  if (!candidates || candidates.length < 2) return null;
  const similar = candidates.some(([, , similarity]) => similarity !== null);
  const heads = ["candidate", "log-prob.", ...(similar ? ["similarity"] : [])];
  const body = make("tbody");
  let chosen = false;
  for (const [text, logprob, similarity] of candidates) {
    const isChosen = !chosen && text === output.captions[index];
    chosen ||= isChosen;
    const cut = text.length > LONG ? `${text.slice(0, LONG)}…` : text;
    const row = make("tr", { class: isChosen ? "chosen" : null }, make("td", { text: cut, dir: "auto" }));
    row.append(make("td", { class: "number", text: isNumber(logprob) ? logprob.toFixed(2) : "–" }));
    if (similar) row.append(make("td", { class: "number", text: shown(similarity) }));
    body.append(row);
  }
  const head = make("tr", {}, ...heads.map((text, at) => make("th", { scope: "col", text, class: at ? "number" : null })));
  const table = make("table", {}, make("thead", {}, head), body);
  const frame = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Candidates" }, table);
  return make("details", { class: "candidates" }, make("summary", { text: `${candidates.length} candidates` }), frame);
}

// Which questions about the clip were answered rightly: by the likeliest option.
function answerList(output, index, questions) {
  const marks = output.answers?.[index];
  if (!marks?.some((mark) => mark !== null)) return null;
  const right = marks.filter((mark) => mark === true).length;
  const items = questions.map((question, at) => {
    const [sign, word] = marks[at] === null ? ["–", "not asked"] : marks[at] ? ["✓", "right"] : ["✗", "wrong"];
    const mark = make("span", { class: `mark ${word}`, text: sign, "aria-hidden": "true" });
    return make("li", { dir: "auto" }, mark, make("span", { class: "unseen", text: `${word}: ` }), question.text);
  });
  const summary = make("summary", { text: `${right} of ${marks.length} questions answered rightly` });
  return make("details", { class: "candidates answers" }, summary, make("ul", {}, ...items));
}

function questionList(questions) {
  if (!questions?.length) return [];
  const items = questions.map((question) =>
    make("li", { dir: "auto" }, `${question.text} `, make("b", { text: question.answer }), make("span", { class: "tag", text: `needs ${question.kind}` })),
  );
  return [make("h3", { text: "Questions" }), make("ul", { class: "references questions" }, ...items)];
}

// What a run says of a clip as it is needs no name; one of several modalities hears as a control.
const isPlain = (output) => output.condition === "audio" && output.heard;

function saidBy(output, index, clip, known, metrics, highest) {
  const dot = make("span", { class: "dot", "data-system": output.system });
  const head = make("header", {}, make("span", {}, dot, make("b", { text: output.label })));
  head.append(make("span", { text: `seed ${output.seed}` }));
  if (!isPlain(output)) head.append(make("span", { class: "tag", text: output.condition_label }));
  const caption = output.captions[index];
  const text = caption === null ? "No prediction; it counts as an empty caption." : caption === "" ? "An empty caption." : null;
  const section = make("section", { class: "said" }, head);
  section.append(text ? make("p", { class: "caption none", text }) : captionText(caption, known));
  if (output.reason) section.append(make("p", { class: "why", text: `No scores: ${output.reason}.` }));
  const parts = [scoreList(output, index, metrics, highest), answerList(output, index, clip.questions ?? []), candidateTable(output, index)];
  section.append(...parts.filter(Boolean));
  return section;
}

// Groups: each system's first seed as it heard the clip; its other seeds; what was said without hearing rightly.
function groupedOutputs(outputs) {
  const seen = new Set();
  const groups = { first: [], seeds: [], controls: [] };
  for (const output of outputs) {
    const key = `${output.label} ${output.condition}`;
    if (!output.heard) groups.controls.push(output);
    else if (seen.has(key)) groups.seeds.push(output);
    else groups.first.push(output);
    seen.add(key);
  }
  const runs = [...new Set(outputs.map((output) => output.run))];
  for (const group of Object.values(groups)) group.sort((a, b) => runs.indexOf(a.run) - runs.indexOf(b.run));
  return groups;
}

// What happens when the page opens, when the address changes, and when a key is pressed.

let content = null;

function showView(state) {
  for (const name of VIEWS) find(`view-${name}`).hidden = name !== state.view;
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.hash === `#${state.view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (state.target) state.target.scrollIntoView();
  else if (state.view !== shownView) window.scrollTo(0, 0);
  shownView = state.view;
  if (!content) return;
  if (state.view === "clips") showBrowser(content, state);
  if (state.view === "charts") showCharts(content, state);
  if (state.view !== "clips") document.querySelector("#clip audio, #clip video")?.pause();
}
let shownView = null;

function onKey(event) {
  const typing = event.target.closest?.("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape") return leaveSearch(typing);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const inControl = event.target.closest?.("a, button, summary, audio, video, [role=region]");
  const onClips = shownView === "clips" && content?.sets.length;
  const actions = { "/": focusSearch, t: nextTheme };
  VIEWS.forEach((view, index) => (actions[index + 1] = () => (location.hash = view)));
  if (onClips) {
    Object.assign(actions, { j: () => stepClip(1), n: () => stepClip(1), k: () => stepClip(-1), p: () => stepClip(-1) });
    const inPlayer = event.target.closest?.("audio, video");
    if (!inPlayer) Object.assign(actions, { ArrowRight: () => stepClip(1), ArrowLeft: () => stepClip(-1) });
    if (!inControl) actions[" "] = togglePlay;
  }
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

function focusSearch() {
  if (shownView !== "clips") location.hash = "clips";
  document.querySelector(".browser").dataset.open = "false";
  setTimeout(() => find("query").focus());
}

function leaveSearch(typing) {
  if (typing) typing.blur();
  else if (shownView === "clips" && browser.state?.clip !== null) leaveClip();
}

function listen() {
  addEventListener("hashchange", () => showView(readAddress()));
  addEventListener("keydown", onKey);
  find("theme").addEventListener("click", nextTheme);
  systemDark.addEventListener("change", applyTheme);
  document.addEventListener("themechange", () => {
    paintDots();
    if (shownView === "charts" && content) showCharts(content, readAddress());
    if (shownView === "clips" && content && browser.state) {
      const playing = document.querySelector("#clip audio, #clip video");
      if (!playing || playing.paused) browser.drawn = ""; // the colours of the event graph
      showBrowser(content, browser.state);
    }
  });
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => shownView === "charts" && content && showCharts(content, readAddress()), 200);
  });
  listenToFilters();
}

async function open() {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  applyTheme();
  listen();
  showView(readAddress());
  try {
    content = await unpackedJson("data");
  } catch (error) {
    find("trouble").textContent = error.message;
    find("trouble").hidden = false;
    return;
  }
  systems = content.systems;
  paintDots();
  showView(readAddress());
  document.documentElement.dataset.ready = "true";
}

open();

// The chat panel. Python holds the conversation; this draws it and sends wishes back.
//
// From Python: the trait `state` (the whole conversation, set when a turn ends or something changes) and messages while
// an answer is made: {k:"d", n, c, s} a piece of text `s` for channel `c` that begins at letter `n`, `t` pieces so far; {k:"w", s} what the
// server is doing; {k:"t", …} tools; {k:"note", s}; {k:"full", thinking, content} after {k:"resync"}; {k:"end", …}.
// To Python: {k:"ask", text}, stop, again, edit, go, undo, set, approve, unload, raw, save, resync, pull, cancel.
import { Growing, copyText } from "./markdown.js";

const PINNED_PX = 40;
const ALARM = 0.9;

/** @param {string} name @param {Object} [set] @param {...(Node|string)} inside */
function make(name, set = {}, ...inside) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(set)) {
    if (key === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (key.includes("-") || key === "role" || key === "for") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...inside);
  return node;
}

class Panel {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.words = (key) => model.get("words")[key] ?? key;
    this.live = null;
    this.follow = true;
    this.top = 0;
    this.away = true;
    this.build();
    this.onState = () => this.drawState();
    this.onMessage = (message) => this.take(message);
    model.on("change:state", this.onState);
    model.on("msg:custom", this.onMessage);
    this.drawState();
  }

  close() {
    this.model.off("change:state", this.onState);
    this.model.off("msg:custom", this.onMessage);
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
  }

  say(wish) { this.model.send(wish); }

  // --- building -------------------------------------------------------------------------------------------------------

  build() {
    const w = this.words;
    this.hide = make("style", { textContent: `.gol-twin-${this.model.get("twin")} {display: none}` });
    this.label = make("span", { className: "gol-label" });
    this.models = make("select", { "aria-label": w("model"), on: { change: () => this.set({ model: this.models.value }) } });
    this.effort = make("select", { "aria-label": w("effort"), on: { change: () => this.set({ effort: this.effort.value }) } },
      ...["low", "medium", "high"].map((level) => make("option", { value: level, textContent: `${w("effort")}: ${w(`effort_${level}`)}` })));
    this.drawer = this.buildDrawer();
    const top = make("div", { className: "gol-top" }, this.label, this.models, this.effort, this.drawer);
    this.log = make("div", { className: "gol-log", role: "log", tabIndex: 0, "aria-label": w("conversation"), "aria-live": "off",
      on: { scroll: () => this.scrolled() } });
    this.sizes = new ResizeObserver(() => this.resized());
    this.sizes.observe(this.log);
    this.chips = make("div", { className: "gol-chips" });
    this.status = make("div", { className: "gol-status", role: "status" });
    this.announce = make("div", { className: "gol-hidden", "aria-live": "polite" });
    this.meterText = make("span");
    this.meterBar = make("meter", { min: 0, max: 1, high: ALARM, optimum: 0, "aria-label": w("context") });
    this.input = make("textarea", { rows: 2, placeholder: w("placeholder"), "aria-label": w("placeholder"),
      "data-lm-suppress-shortcuts": "true", on: { keydown: (event) => this.onKey(event), input: () => this.grow() } });
    this.button = make("button", { type: "button", className: "gol-send", on: { click: () => this.press() } });
    const composer = make("div", { className: "gol-composer" }, this.input, this.button);
    const foot = make("div", { className: "gol-foot" }, this.meterBar, this.meterText,
      this.small("undo", () => this.say({ k: "undo" })), this.small("save_markdown", () => this.say({ k: "save", as: "md" })),
      this.small("save_python", () => this.say({ k: "save", as: "py" })), this.small("unload", () => this.say({ k: "unload" })));
    this.root = make("div", { className: "gol-panel", on: { keydown: (event) => this.guard(event), keypress: stop, keyup: stop } },
      this.hide, top, this.log, this.chips, this.status, composer, foot, this.announce);
    this.el.replaceChildren(this.root);
  }

  buildDrawer() {
    const w = this.words;
    this.fields = {
      system: make("textarea", { rows: 2, "data-lm-suppress-shortcuts": "true" }),
      temperature: make("input", { type: "number", min: 0, max: 2, step: 0.1 }),
      top_p: make("input", { type: "number", min: 0, max: 1, step: 0.05 }),
      seed: make("input", { type: "number", step: 1 }),
      num_ctx: make("input", { type: "number", min: 256, step: 1024 }),
    };
    const rows = Object.entries(this.fields).map(([name, field]) => {
      field.addEventListener("change", () => this.setField(name, field.value));
      return make("label", {}, make("span", { textContent: w(`field_${name}`) }), field);
    });
    const summary = make("summary", { textContent: w("settings") });
    const leave = (event) => { if (event.key === "Escape") { drawer.open = false; summary.focus(); } };
    const drawer = make("details", { className: "gol-drawer", on: { keydown: leave } }, summary, ...rows);
    return drawer;
  }

  small(word, act) {
    return make("button", { type: "button", className: "gol-small", textContent: this.words(word), on: { click: act } });
  }

  // --- the keyboard ---------------------------------------------------------------------------------------------------

  /** JupyterLab must not see keys typed here, for Shift+Enter would run the cell and wipe the draft; saving may pass. */
  guard(event) { if (!isSave(event)) event.stopPropagation(); }

  onKey(event) {
    if (isSave(event)) return;
    event.stopPropagation();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      if (!this.state.running) this.press();
    }
    if (event.key === "Escape" && this.state.running) this.press();
  }

  grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight + 2, 240)}px`;
  }

  press() {
    if (this.state.running) {
      this.status.textContent = this.words("stopping");
      this.sayNow({ k: "stop", number: this.live?.number });
      clearTimeout(this.second);
      this.second = setTimeout(() => this.offerInterrupt(), 1500);
      return;
    }
    const text = this.input.value;
    if (!text.trim()) return;
    this.input.value = "";
    this.grow();
    this.ask({ k: "ask", text }, text);
  }

  /** A cell that runs keeps ordinary messages waiting on some versions; the control channel is read all the time. */
  sayNow(wish) {
    this.say(wish);
    const kernel = this.model.widget_manager?.kernel;
    if (!kernel?.sendControlMessage) return;
    const header = { msg_id: crypto.randomUUID(), msg_type: "comm_msg", session: kernel.clientId, username: kernel.username, date: new Date().toISOString(), version: "5.3" };
    const content = { comm_id: this.model.get("comm_id"), data: { method: "custom", content: wish } };
    kernel.sendControlMessage({ channel: "control", header, parent_header: {}, metadata: {}, content, buffers: [] }, false, true);
  }

  /** Where not even that is heard only an interrupt helps, which also ends the running cell. */
  offerInterrupt() {
    const kernel = this.model.widget_manager?.kernel;
    if (!this.state.running || !kernel?.interrupt) return;
    this.status.replaceChildren(this.words("busy_kernel"), " ", this.small("interrupt", () => kernel.interrupt()));
  }

  ask(wish, text) {
    this.status.textContent = this.words("sending");
    if (text) this.log.append(this.drawUser({ content: text, turn: -1, versions: 1, version: 0 }));
    this.startLive();
    this.running(true);
    this.scroll(true);
    this.write();
    this.say(wish);
  }

  /** Whoever works in this panel goes on in its composer. */
  write() { if (this.root.contains(document.activeElement)) this.input.focus(); }

  set(settings) { this.say({ k: "set", ...settings }); }

  setField(name, value) {
    if (name === "system") this.set({ system: value });
    else this.set({ options: { ...this.state.settings.options, [name]: value === "" ? null : Number(value) } });
  }

  // --- the whole state ------------------------------------------------------------------------------------------------

  drawState() {
    const state = this.state = this.model.get("state");
    const { settings } = state;
    this.label.textContent = state.label;
    this.models.replaceChildren(...state.models.map((name) => make("option", { value: name, textContent: name })));
    this.models.value = settings.model;
    this.effort.value = settings.effort;
    this.fields.system.value = settings.system;
    for (const name of ["temperature", "top_p", "seed", "num_ctx"]) this.fields[name].value = settings.options[name] ?? "";
    if (!state.running) {
      this.live = null;
      this.drawLog();
      this.scroll();
      const acts = (state.acts ?? []).map((act) => this.act(act));
      this.status.replaceChildren(state.problem, acts.length ? "\n" : "", ...acts);
      clearTimeout(this.second);
    } else if (!this.live) {
      this.drawLog();
      this.startLive();
      this.live.number = state.number;
      this.say({ k: "resync" });
    }
    this.chips.replaceChildren(...(state.messages.length || state.running ? [] : state.chips.map((text) => this.chip(text))));
    this.drawMeter(state.used, state.window);
    this.running(state.running);
  }

  /** Draw all messages; a button in them that had the focus has it again. */
  drawLog() {
    const buttons = () => [...this.log.querySelectorAll("button")];
    const at = buttons().indexOf(document.activeElement);
    this.log.replaceChildren(...this.state.messages.map((message) => this.drawMessage(message)));
    const again = buttons()[at];
    if (at >= 0) (again && !again.disabled ? again : this.log).focus();
  }

  /** What can be done about a trouble. */
  act(name) {
    return this.small(name, () => name === "again" ? this.ask({ k: name }) : this.say({ k: name }));
  }

  chip(text) {
    return make("button", { type: "button", className: "gol-chip", textContent: text, on: { click: () => { this.chips.replaceChildren(); this.ask({ k: "ask", text }, text); } } });
  }

  running(now) {
    if (this.state) this.state.running = now;
    this.log.setAttribute("aria-busy", String(now));
    this.button.textContent = this.words(now ? "stop" : "send");
    this.button.classList.toggle("gol-stop", now);
  }

  drawMeter(used, window) {
    const share = window ? Math.min(used / window, 1) : 0;
    this.meterBar.value = share;
    this.meterText.textContent = window ? `${this.words("context")}: ${used.toLocaleString()} / ${window.toLocaleString()}` : "";
    this.meterText.classList.toggle("gol-alarm", share > ALARM);
    if (share > ALARM) this.meterText.textContent += ` – ${this.words("nearly_full")}`;
  }

  drawMessage(message) {
    if (message.role === "user") return this.drawUser(message);
    if (message.role === "tool") return this.drawResult(message.tool, message.content, true);
    const box = make("article", { className: "gol-message gol-assistant", "aria-label": this.words("answer") });
    if (message.thinking) box.append(this.thinkingBlock(message.thinking, false, message.thought).box);
    for (const call of message.calls) box.append(this.callBlock(call));
    if (message.content) {
      const place = box.appendChild(make("div", { className: "gol-text" }));
      new Growing(place, this.words).show(message.content, true);
      this.typeset(place, message.content);
    }
    for (const note of message.notes ?? []) box.append(make("p", { className: "gol-note", textContent: note }));
    box.append(this.under(message));
    return box;
  }

  under(message) {
    const line = make("div", { className: "gol-under" });
    if (message.stopped) line.append(make("span", { textContent: this.words("stopped") }));
    if (message.valid !== null && message.valid !== undefined) line.append(make("span", { textContent: this.words(message.valid ? "valid" : "not_valid") }));
    if (message.line) line.append(make("span", { textContent: message.line }));
    line.append(make("button", { type: "button", className: "gol-small", textContent: this.words("copy"),
      on: { click: (event) => copyText(message.content, event.currentTarget, this.words) } }));
    if (message.last) line.append(this.small("again", () => this.ask({ k: "again" })));
    line.append(this.arrows(message.node, message.versions, message.version));
    line.append(this.small("raw", () => this.say({ k: "raw", node: message.node })));
    return line;
  }

  arrows(node, versions, version) {
    if (!(versions > 1)) return "";
    const to = (place) => () => this.say({ k: "go", node, version: place });
    return make("span", { className: "gol-arrows" },
      make("button", { type: "button", className: "gol-small", textContent: "‹", disabled: version === 0, "aria-label": this.words("older"), on: { click: to(version - 1) } }),
      `${version + 1} / ${versions}`,
      make("button", { type: "button", className: "gol-small", textContent: "›", disabled: version === versions - 1, "aria-label": this.words("newer"), on: { click: to(version + 1) } }));
  }

  drawUser(message) {
    const text = make("div", { className: "gol-text", textContent: message.content });
    const box = make("article", { className: "gol-message gol-user", "aria-label": this.words("you") }, text);
    if (message.turn >= 0) {
      const under = make("div", { className: "gol-under" }, this.small("edit", () => this.editUser(box, message)), this.arrows(message.node, message.versions, message.version));
      box.append(under);
    }
    return box;
  }

  editUser(box, message) {
    const area = make("textarea", { value: message.content, rows: 3, "aria-label": this.words("edit"), "data-lm-suppress-shortcuts": "true",
      on: { keydown: (event) => { event.stopPropagation(); if (event.key === "Escape") cancel(); if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); } } } });
    const send = () => {
      if (!area.value.trim()) return;
      while (box.nextSibling) box.nextSibling.remove();
      box.replaceChildren(make("div", { className: "gol-text", textContent: area.value }));
      this.ask({ k: "edit", turn: message.turn, text: area.value });
    };
    const cancel = () => {
      const before = this.drawUser(message);
      box.replaceWith(before);
      before.querySelector("button").focus();
    };
    box.replaceChildren(area, make("div", { className: "gol-under" }, this.small("send", send), this.small("cancel", cancel)));
    area.focus();
  }

  thinkingBlock(text, open, thought) {
    const body = make("div", { className: "gol-thought", textContent: text });
    const summary = make("summary", { textContent: [this.words("thinking"), thought].filter(Boolean).join(" · ") });
    return { box: make("details", { className: "gol-thinking", open }, summary, body), body, summary };
  }

  callBlock(call) {
    const code = make("code", { textContent: `${call.name}(${Object.entries(call.arguments).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(", ")})` });
    return make("div", { className: "gol-call" }, `${this.words("tool_call")} `, code);
  }

  drawResult(name, text, ok) {
    return make("details", { className: `gol-result${ok ? "" : " gol-bad"}` }, make("summary", { textContent: `${this.words("tool_result")} ${name}` }), make("pre", { textContent: text }));
  }

  /** LaTeX is drawn by JupyterLab's own typesetter where there is one. */
  typeset(place, text) {
    if (/\$|\\\(|\\\[/.test(text)) this.model.widget_manager?.rendermime?.latexTypesetter?.typeset(place);
  }

  // --- an answer that grows -------------------------------------------------------------------------------------------

  startLive() {
    const box = make("article", { className: "gol-message gol-assistant", "aria-label": this.words("answer") });
    const thinking = this.thinkingBlock("", true);
    thinking.box.hidden = true;
    const steps = make("div");
    const place = make("div", { className: "gol-text" });
    box.append(thinking.box, steps, place);
    this.log.append(box);
    this.live = { box, thinking, steps, place, growing: new Growing(place, this.words), text: { thinking: "", content: "" }, pieces: {}, began: performance.now(), dirty: false };
  }

  take(message) {
    if (message.k === "file") return this.download(message);
    if (message.k === "raw") return this.showRaw(message.s);
    if (message.k === "end") return this.end(message);
    if (message.k === "w") this.tellStatus(message.s);
    if (!this.live) return;
    if (message.k === "d") this.piece(message);
    else if (message.k === "full") { this.live.text = { thinking: message.thinking, content: message.content }; this.paintSoon(); }
    else if (message.k === "call") this.live.steps.append(this.callBlock(message.call));
    else if (message.k === "approve") this.live.steps.append(this.approval(message));
    else if (message.k === "result") { this.live.steps.append(this.drawResult(message.name, message.s, message.ok)); this.nextStep(); }
    else if (message.k === "note") this.live.steps.append(make("p", { className: "gol-note", textContent: message.s }));
    this.scroll();
  }

  /** What the server is doing; buttons beside it stay. */
  tellStatus(text) { this.status.replaceChildren(`${text} `, ...this.status.querySelectorAll("button")); }

  piece({ n, c, s, t }) {
    const { text } = this.live;
    if (n > text[c].length) { this.say({ k: "resync" }); return; }
    text[c] = text[c].slice(0, n) + s;
    this.live.pieces[c] = t;
    this.status.textContent = "";
    this.paintSoon();
  }

  nextStep() {
    this.live.text = { thinking: "", content: "" };
    this.paintSoon();
  }

  paintSoon() {
    if (this.live.dirty) return;
    this.live.dirty = true;
    this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    const live = this.live;
    if (!live) return;
    live.dirty = false;
    const { thinking, content } = live.text;
    if (thinking) {
      live.thinking.box.hidden = false;
      live.thinking.body.textContent = thinking;
      if (!content) live.thinking.summary.textContent = `${this.words("thinking")} · ${((performance.now() - live.began) / 1000).toFixed(0)} s · ${live.pieces.thinking ?? 0} ${this.words("tokens")}`;
      else if (!live.folded) { live.folded = true; live.thinking.box.open = false; }
    }
    live.growing.show(content);
    this.scroll();
  }

  end(message) {
    if (this.live) { this.live.text.content = message.content ?? this.live.text.content; this.paint(); }
    this.announce.textContent = message.problem ? message.problem : `${this.words("answer")}: ${message.content}`;
    this.running(false);
  }

  approval({ id, call }) {
    const decide = (allow) => () => { this.sayNow({ k: "approve", id, allow }); this.write(); box.remove(); };
    const box = make("div", { className: "gol-approval", role: "group", "aria-label": this.words("approve") },
      `${this.words("approve")} `, make("code", { textContent: call.name }), this.small("allow", decide(true)), this.small("deny", decide(false)));
    return box;
  }

  showRaw(text) {
    const before = document.activeElement;
    const leave = () => { box.remove(); before.focus(); };
    const close = this.small("close", leave);
    const box = make("div", { className: "gol-raw", on: { keydown: (event) => { if (event.key === "Escape") leave(); } } }, make("pre", { textContent: text, tabIndex: 0 }), close);
    this.root.append(box);
    close.focus();
  }

  download({ name, s }) {
    const link = make("a", { download: name, href: URL.createObjectURL(new Blob([s], { type: "text/plain" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // --- the newest line stays in view, until somebody scrolls up -------------------------------------------------------

  scroll(force = false) {
    this.follow ||= force;
    if (this.follow) this.log.scrollTop = this.log.scrollHeight;
  }

  /** Only a way upwards is somebody's wish: text may have grown since the place was set. */
  scrolled() {
    if (this.away) return;
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    if (scrollHeight - scrollTop - clientHeight < PINNED_PX) this.follow = true;
    else if (scrollTop < this.top) this.follow = false;
    this.top = scrollTop;
  }

  /** JupyterLab takes cells that are out of sight off the page, and the place in a text is lost with that. */
  resized() {
    const away = this.log.clientHeight === 0;
    if (!away) this.scroll();
    this.away = away;
  }
}

function isSave(event) { return (event.ctrlKey || event.metaKey) && event.key === "s"; }

function stop(event) { event.stopPropagation(); }

export default {
  render({ model, el }) {
    const panel = new Panel(model, el);
    return () => panel.close();
  },
};

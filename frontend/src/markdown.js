// Markdown that grows: settled blocks are drawn once, only the last ones are drawn again. Everything a model writes is
// sanitised block by block; nothing it writes can load or run anything without a click.
import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import { Marked } from "marked";

for (const [name, language] of Object.entries({ bash, json, python })) {
  hljs.registerLanguage(name, language);
}
hljs.registerAliases(["sh", "shell", "powershell", "console"], { languageName: "bash" });
hljs.registerAliases(["py"], { languageName: "python" });

const marked = new Marked({ gfm: true, breaks: false });
const SAFE = {
  ALLOWED_TAGS: ["p", "br", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4",
    "h5", "h6", "hr", "table", "thead", "tbody", "tr", "th", "td", "a", "span", "sup", "sub"],
  ALLOWED_ATTR: ["href", "title", "start", "align", "data-image"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const KEPT_OPEN = 2; // blocks at the end that may still change

marked.use({
  renderer: {
    // A picture could tell its server what was read: it is named, and loaded only by a click.
    image({ href, text }) {
      return `<span data-image="${escapeHtml(href)}">[image: ${escapeHtml(text || "")}]</span>`;
    },
    html({ text }) {
      return escapeHtml(text);
    },
  },
});

/** @param {string} text @returns {string} */
export function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** A place for Markdown that grows. */
export class Growing {
  /** @param {HTMLElement} place @param {(key: string) => string} words */
  constructor(place, words) {
    this.place = place;
    this.words = words;
    this.text = "";
    this.settled = 0; // letters of the text that are drawn for good
    this.open = []; // nodes that may be drawn again
  }

  /** Show the text as it is now. @param {string} text @param {boolean} whole */
  show(text, whole = false) {
    if (!text.startsWith(this.text.slice(0, this.settled))) this.clear();
    this.text = text;
    const tokens = marked.lexer(text.slice(this.settled));
    const ready = whole ? tokens.length : Math.max(tokens.length - KEPT_OPEN, 0);
    this.open.forEach((node) => node.remove());
    this.open = [];
    tokens.forEach((token, at) => {
      const nodes = this.draw(token, tokens.links, at < ready);
      if (at < ready) this.settled += token.raw.length;
      else this.open.push(...nodes);
      this.place.append(...nodes);
    });
  }

  clear() {
    this.place.replaceChildren();
    this.settled = 0;
    this.open = [];
  }

  draw(token, links, settled) {
    if (token.type === "space") return [];
    if (token.type === "code") return [this.code(token, settled)];
    const list = Object.assign([token], { links });
    const fragment = DOMPurify.sanitize(marked.parser(list), SAFE);
    fragment.querySelectorAll("a").forEach(guardLink);
    fragment.querySelectorAll("[data-image]").forEach((span) => this.picture(span));
    return [...fragment.childNodes];
  }

  code({ text, lang }, settled) {
    const box = document.createElement("div");
    box.className = "gol-code";
    const pre = box.appendChild(document.createElement("pre"));
    pre.tabIndex = 0; // so that the keyboard can scroll it
    const inner = pre.appendChild(document.createElement("code"));
    inner.textContent = text;
    const name = (lang || "").trim().split(/\s/)[0].toLowerCase();
    if (settled && hljs.getLanguage(name)) {
      const painted = hljs.highlight(text, { language: name }).value; // escaped by highlight.js, spans with classes only
      inner.replaceChildren(DOMPurify.sanitize(painted, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
    }
    const copy = box.appendChild(document.createElement("button"));
    copy.type = "button";
    copy.className = "gol-copy";
    copy.textContent = this.words("copy");
    copy.addEventListener("click", () => copyText(text, copy, this.words));
    return box;
  }

  picture(span) {
    const address = span.dataset.image;
    span.removeAttribute("data-image");
    let host = "";
    try { host = new URL(address).host; } catch { return; }
    if (!/^https?:/i.test(address)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "gol-picture";
    button.textContent = `${span.textContent.slice(0, -1)} – ${host}]`;
    button.title = this.words("load_picture");
    button.addEventListener("click", () => {
      const picture = document.createElement("img");
      picture.referrerPolicy = "no-referrer";
      picture.alt = span.textContent;
      picture.src = address;
      button.replaceWith(picture);
    });
    span.replaceWith(button);
  }
}

function guardLink(link) {
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  if (link.href) link.title = new URL(link.href).host || link.href;
}

/** @param {string} text @param {HTMLElement} button @param {(key: string) => string} words */
export async function copyText(text, button, words) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = words("copied");
  setTimeout(() => { button.textContent = before; }, 1500);
}

// Draws /openapi.json: operations by tag, who may call them, schemas, and a form to try each. Text from the document
// and from answers only ever becomes text nodes. No other origin is asked for anything.

const METHODS = ["get", "post", "put", "patch", "delete"];
const STREAM_CHARACTERS_MAX = 200000;
let api = {};

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const byId = (id) => document.getElementById(id);

/** Paragraphs, with `code` between backticks. */
function prose(text) {
  const paragraphs = (text || "").split(/\n\s*\n/).filter(Boolean);
  return paragraphs.map((paragraph) => {
    const parts = paragraph.split("`");
    return el("p", {}, ...parts.map((part, i) => (i % 2 ? el("code", {}, part) : part)));
  });
}

function resolve(schema) {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.split("/").slice(1).reduce((node, key) => node[key.replace(/~1/g, "/").replace(/~0/g, "~")], api);
}

const refName = (schema) => (schema.$ref || "").split("/").pop();

function typeName(schema) {
  if (!schema) return "any";
  if (schema.$ref) return refName(schema);
  if (schema.allOf?.length === 1) return typeName(schema.allOf[0]);
  if (schema.type === "array") return `array of ${typeName(schema.items)}`;
  if (schema.additionalProperties && schema.additionalProperties !== true) return `map of ${typeName(schema.additionalProperties)}`;
  const type = [].concat(schema.type || "any").filter((name) => name !== "null").join(" or ");
  return schema.format ? `${type} (${schema.format})` : type;
}

function constraints(schema) {
  const words = {
    minimum: "≥ ", maximum: "≤ ", minLength: "at least characters: ", maxLength: "at most characters: ", pattern: "matches ",
    minItems: "at least items: ", maxItems: "at most items: ", const: "is ", default: "default ",
  };
  const said = Object.entries(words).filter(([key]) => schema[key] !== undefined).map(([key, word]) => word + schema[key]);
  if (schema.enum) said.push(schema.enum.join(" · "));
  if (schema.readOnly) said.push("set by the server");
  return said.join(", ");
}

/** What stands behind a schema, one level; deeper levels are drawn when they are opened, so recursion ends. */
function drawProperties(schema) {
  const target = resolve(schema.allOf?.length === 1 ? schema.allOf[0] : schema);
  const required = new Set(target.required || []);
  const rows = Object.entries(target.properties || {}).map(([name, property]) => el("li", {},
    el("code", {}, name), " ", el("span", { className: "type" }, typeName(property)),
    required.has(name) ? el("span", { className: "required" }, " required") : null,
    constraints(property) ? el("div", { className: "soft" }, constraints(property)) : null,
    ...prose(property.description), drawInner(property)));
  return el("div", {}, ...prose(target.description), constraints(target) ? el("div", { className: "soft" }, constraints(target)) : null,
    rows.length ? el("ul", { className: "properties" }, ...rows) : null);
}

function drawInner(property) {
  const schema = property.allOf?.length === 1 ? property.allOf[0] : property;
  const inner = schema.items || (typeof schema.additionalProperties === "object" ? schema.additionalProperties : schema);
  const target = inner.allOf?.length === 1 ? inner.allOf[0] : inner;
  if (!target.$ref && !target.properties) return null;
  return drawSchema(target, refName(target) || "object");
}

function drawSchema(schema, label) {
  const details = el("details", { className: "schema" }, el("summary", {}, label));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(drawProperties(schema)); });
  return details;
}

/** What has to be there, the first of each choice; everything when nothing has to. */
function exampleObject(target, depth) {
  const chosen = (target.allOf || []).map((part) => part.oneOf?.[0]?.required?.[0]).filter(Boolean);
  const needed = [...(target.required || []), ...chosen];
  const entries = Object.entries(target.properties || {}).filter(([name, property]) => !property.readOnly && (!needed.length || needed.includes(name)));
  return Object.fromEntries(entries.map(([name, property]) => [name, example(property, depth + 1)]));
}

function example(schema, depth = 0) {
  const target = resolve(schema?.allOf?.length === 1 ? schema.allOf[0] : schema);
  if (target.example !== undefined) return target.example;
  if (target.examples?.length) return target.examples[0];
  if (target.default !== undefined) return target.default;
  if (target.enum) return target.enum.find((name) => !String(name).endsWith("_UNSPECIFIED")) ?? target.enum[0];
  const type = [].concat(target.type || "object")[0];
  if (type === "array") return target.minItems || depth <= 1 ? [example(target.items, depth + 1)] : [];
  if (type === "object") return depth > 3 ? {} : exampleObject(target, depth);
  if (type === "integer" || type === "number") return target.minimum > 0 ? target.minimum : 0;
  if (type === "boolean") return false;
  if (target.format === "date-time") return new Date().toISOString();
  return target.format === "int64" || target.format === "uint64" ? "1" : "";
}

/** A form field for a parameter. */
function drawInput(parameter, id) {
  const schema = resolve(parameter.schema);
  const choices = schema.enum || (schema.type === "boolean" ? ["true", "false"] : null);
  const properties = { id, name: parameter.name, "aria-label": `${parameter.name} (${parameter.in})` };
  if (choices) return el("select", properties, el("option", { value: "" }, ""), ...choices.map((choice) => el("option", {}, choice)));
  const hint = schema.type === "array" ? "one or more, separated by commas" : constraints(schema);
  return el("input", { ...properties, placeholder: hint.slice(0, 60), spellcheck: false, autocomplete: "off" });
}

function drawParameters(operation) {
  const parameters = operation.parameters || [];
  if (!parameters.length) return [];
  const rows = parameters.map((parameter) => el("tr", {},
    el("td", {}, parameter.name, parameter.required ? el("span", { className: "required" }, " required") : null),
    el("td", {}, parameter.in, " ", el("span", { className: "type" }, typeName(parameter.schema))),
    el("td", {}, ...prose(parameter.description), el("span", { className: "soft" }, constraints(resolve(parameter.schema)))),
    el("td", {}, drawInput(parameter, `${operation.operationId}-${parameter.in}-${parameter.name}`))));
  const heads = ["Parameter", "Where", "Meaning", "Value to try"].map((text) => el("th", { scope: "col" }, text));
  return [el("h4", {}, "Parameters"), el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows))];
}

function bodyOf(operation) {
  const content = Object.entries(operation.requestBody?.content || {});
  return content.length ? { type: content[0][0], schema: content[0][1].schema || {} } : null;
}

function drawResponses(operation) {
  const rows = Object.entries(operation.responses || {}).map(([status, reference]) => {
    const response = resolve(reference);
    const schemas = Object.entries(response.content || {}).map(([type, media]) =>
      el("div", {}, el("span", { className: "type" }, type), media.schema ? drawSchema(media.schema, typeName(media.schema)) : null));
    return el("tr", {}, el("td", {}, status), el("td", {}, ...prose(response.description), ...schemas));
  });
  return [el("h4", {}, "Responses"), el("table", {}, el("tbody", {}, ...rows))];
}

function drawAccess(operation) {
  const access = operation["x-tillmesh-access"];
  if (!access) return [];
  if (access.public) return [el("p", {}, el("span", { className: "chip" }, "public: no token needed"))];
  const chips = [...(access.roles || []), ...(access.scopes || [])].map((text) => el("span", { className: "chip" }, text));
  return [el("h4", {}, "Who may call it"), el("p", {}, ...chips)];
}

const isStream = (operation) => Boolean(operation["x-tillmesh-stream"]);

function buildRequest(path, method, operation, form) {
  const values = (parameter) => {
    const text = form.querySelector(`#${CSS.escape(`${operation.operationId}-${parameter.in}-${parameter.name}`)}`).value.trim();
    if (!text) return [];
    return resolve(parameter.schema).type === "array" ? text.split(",").map((part) => part.trim()) : [text];
  };
  const headers = new Headers();
  const query = new URLSearchParams();
  let url = path;
  for (const parameter of operation.parameters || []) {
    const given = values(parameter);
    if (parameter.in === "path") {
      if (!given.length) throw new Error(`${parameter.name} is missing`);
      url = url.replace(`{${parameter.name}}`, encodeURIComponent(given[0]));
    } else if (parameter.in === "query") given.forEach((value) => query.append(parameter.name, value));
    else if (parameter.in === "header" && given.length) headers.set(parameter.name, given[0]);
  }
  if (byId("token").value && operation.security?.length !== 0) headers.set("Authorization", `Bearer ${byId("token").value.trim()}`);
  if (isStream(operation)) headers.set("Accept", "text/event-stream");
  const body = form.querySelector("textarea")?.value;
  if (body !== undefined) headers.set("Content-Type", bodyOf(operation).type);
  return [url + (query.size ? `?${query}` : ""), { method: method.toUpperCase(), headers, body }];
}

/** Shows an answer while it arrives, so that a stream can be watched. */
async function show(response, output) {
  const good = response.ok ? "status-good" : "status-bad";
  const interesting = [...response.headers].filter(([name]) => !["date", "server"].includes(name)).map(([name, value]) => `${name}: ${value}`);
  const text = el("pre", { tabIndex: 0, "aria-label": "Body of the answer" });
  output.replaceChildren(el("p", { className: good }, `${response.status} ${response.statusText}`), el("pre", {}, interesting.join("\n")), text);
  const decoder = new TextDecoder();
  let whole = "";
  for (const reader = response.body?.getReader(); reader;) {
    const { done, value } = await reader.read();
    if (done) break;
    whole = (whole + decoder.decode(value, { stream: true })).slice(-STREAM_CHARACTERS_MAX);
    text.textContent = whole;
  }
  try { text.textContent = JSON.stringify(JSON.parse(whole), null, 2); } catch { /* not JSON: as it came */ }
}

function drawTry(path, method, operation) {
  const output = el("div", { role: "status" });
  const send = el("button", { type: "submit" }, "Send");
  const stop = el("button", { type: "button", disabled: true }, "Stop");
  const body = bodyOf(operation);
  const form = el("form", {}, ...drawParameters(operation));
  if (body) {
    const json = body.type === "application/json";
    const text = json ? JSON.stringify(example(body.schema), null, 2) : "";
    form.append(el("h4", {}, "Body"), drawSchema(body.schema, typeName(body.schema)),
      el("textarea", { value: text, spellcheck: false, "aria-label": `Body (${body.type})` }));
  }
  form.append(el("div", { className: "actions" }, send, stop), output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const cancel = new AbortController();
    stop.onclick = () => cancel.abort();
    [send.disabled, stop.disabled] = [true, false];
    try {
      const [url, options] = buildRequest(path, method, operation, form);
      await show(await fetch(url, { ...options, signal: cancel.signal }), output);
    } catch (error) {
      if (error.name !== "AbortError") output.replaceChildren(el("p", { className: "status-bad" }, String(error.message || error)));
    }
    [send.disabled, stop.disabled] = [false, true];
  });
  return form;
}

function drawOperation({ path, method, operation }) {
  const details = el("details", { className: `operation${operation.deprecated ? " deprecated" : ""}`, id: operation.operationId },
    el("summary", {}, el("span", { className: `method ${method}` }, method.toUpperCase()), el("span", { className: "path" }, path),
      isStream(operation) ? el("span", { className: "chip" }, "stream") : null,
      el("span", { className: "tagline" }, operation.summary || "")));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    details.append(el("div", {}, ...prose(operation.description), ...drawAccess(operation), drawTry(path, method, operation), ...drawResponses(operation)));
  });
  return details;
}

function allOperations() {
  return Object.entries(api.paths || {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })));
}

function drawAll() {
  const content = byId("content");
  const index = byId("index");
  content.replaceChildren(...prose(api.info?.description));
  for (const tag of api.tags || []) {
    const mine = allOperations().filter(({ operation }) => operation.tags?.includes(tag.name));
    if (!mine.length) continue;
    content.append(el("section", { "aria-labelledby": `tag-${tag.name}` }, el("h2", { id: `tag-${tag.name}` }, tag.name), ...prose(tag.description), ...mine.map(drawOperation)));
    const links = mine.map(({ path, method, operation }) => el("li", {}, el("a", { href: `#${operation.operationId}` },
      el("span", { className: `method ${method}` }, method.toUpperCase()), " ", el("span", { className: "path" }, path))));
    index.append(el("section", {}, el("h2", {}, tag.name), el("ul", {}, ...links)));
  }
}

function filterOperations() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const { path, method, operation } of allOperations()) {
    const access = operation["x-tillmesh-access"] || {};
    const text = [method, path, operation.operationId, operation.summary, ...(access.scopes || []), ...(access.roles || [])].join(" ").toLowerCase();
    const fits = words.every((word) => text.includes(word));
    count += fits;
    byId(operation.operationId).hidden = !fits;
    byId("index").querySelector(`a[href="#${CSS.escape(operation.operationId)}"]`).parentElement.hidden = !fits;
  }
  for (const section of document.querySelectorAll("section")) section.hidden = !section.querySelector(".operation:not([hidden]), li:not([hidden])");
  byId("found").textContent = words.length ? `${count} operation${count === 1 ? "" : "s"}` : "";
}

function openFromAddress() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (!target?.classList.contains("operation")) return;
  target.open = true;
  target.querySelector("summary").focus({ preventScroll: true });
  target.scrollIntoView();
}

async function getToken(event) {
  event.preventDefault();
  const form = new URLSearchParams({ grant_type: "client_credentials", client_id: byId("client-id").value, client_secret: byId("client-secret").value });
  const answer = await (await fetch("/oauth2/token", { method: "POST", body: form })).json();
  if (answer.access_token) setToken(answer.access_token);
  byId("token-result").textContent = answer.access_token ? `Valid for ${answer.expires_in / 60} minutes: ${answer.scope}` : answer.error_description || answer.error;
}

function setToken(token) {
  byId("token").value = token;
  sessionStorage.setItem("tillmesh-token", token);
}

function wireHeader() {
  byId("token").value = sessionStorage.getItem("tillmesh-token") || "";
  byId("token").addEventListener("change", () => setToken(byId("token").value));
  byId("token-form").addEventListener("submit", getToken);
  byId("token-show").addEventListener("click", () => {
    const shown = byId("token").type === "text";
    byId("token").type = shown ? "password" : "text";
    byId("token-show").textContent = shown ? "Show" : "Hide";
    byId("token-show").setAttribute("aria-pressed", String(!shown));
  });
  byId("search").addEventListener("input", filterOperations);
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); byId("search").focus(); }
  });
  window.addEventListener("hashchange", openFromAddress);
}

wireHeader();
try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`/openapi.json answered ${response.status}`);
  api = await response.json();
  drawAll();
  openFromAddress();
} catch (error) {
  byId("content").replaceChildren(el("p", { className: "status-bad" }, `The document could not be drawn: ${error.message}`));
}

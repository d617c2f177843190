"use strict";

const byId = (id) => document.getElementById(id);
const [form, output, status, table] = ["form", "output", "status", "alternatives"].map(byId);
const pressed = () => output.querySelector('[aria-pressed="true"]');
let running = null;

/** Writes what the server says about itself. */
async function about() {
  const health = await (await fetch("/health")).json();
  byId("model").textContent = health.model;
  const standing = byId("standing");
  const words = {
    passed: "Every checkpoint has passed.",
    own: "Checked by this program alone: the model has no references.",
    unchecked: "Not checked: the server was started with --unchecked.",
  };
  standing.textContent = health.ready ? words[health.verdict] : `Not ready: ${health.reason}`;
  standing.classList.toggle("bad", !health.ready || health.verdict === "unchecked");
}

/** The request, and how to read an event of its answer. */
function request() {
  const settings = {
    stream: true,
    max_tokens: Number(byId("tokens").value),
    temperature: Number(byId("temperature").value),
    seed: Number(byId("seed").value),
  };
  const prompt = byId("prompt").value;
  if (byId("endpoint").value === "chat") {
    const body = { ...settings, messages: [{ role: "user", content: prompt }], logprobs: true, top_logprobs: 5 };
    const read = (choice) => (choice.logprobs?.content ?? []).map((token) => ({
      text: token.token,
      logprob: token.logprob,
      others: token.top_logprobs.map((other) => [other.token, other.logprob]),
    }));
    return ["/v1/chat/completions", body, read];
  }
  const read = (choice) => (choice.logprobs?.tokens ?? []).map((text, n) => ({
    text,
    logprob: choice.logprobs.token_logprobs[n],
    others: Object.entries(choice.logprobs.top_logprobs[n]),
  }));
  return ["/v1/completions", { ...settings, prompt, logprobs: 5 }, read];
}

/** The data of each event of a stream, without the last one, `[DONE]`. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the answer ended early");
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const data = text.slice("data: ".length, end);
      text = text.slice(end + 2);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

/** Adds a token to the output. */
function add(token) {
  const button = document.createElement("button");
  const probability = Math.exp(token.logprob);
  button.type = "button";
  button.textContent = token.text;
  button.title = `probability ${probability.toFixed(3)}`;
  button.className = probability >= 0.5 ? "high" : probability >= 0.1 ? "middle" : "low";
  button.tabIndex = output.childElementCount === 0 ? 0 : -1;
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `${JSON.stringify(token.text)}, probability ${probability.toFixed(3)}`);
  button.addEventListener("click", () => choose(button, token));
  output.append(button);
}

/** Shows the alternatives to a token. */
function choose(button, token) {
  pressed()?.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", "true");
  table.hidden = false;
  table.caption.textContent = `Instead of ${JSON.stringify(token.text)}`;
  const rows = [...token.others].sort((a, b) => b[1] - a[1]).map(([text, logprob]) => {
    const row = document.createElement("tr");
    const [name, value] = [document.createElement("td"), document.createElement("td")];
    const meter = document.createElement("meter");
    meter.value = Math.exp(logprob);
    name.textContent = JSON.stringify(text);
    value.append(Math.exp(logprob).toFixed(4), meter);
    row.append(name, value);
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
}

/** Generates text. */
async function generate() {
  running?.abort();
  const own = (running = new AbortController());
  const [path, body, read] = request();
  const key = byId("key").value;
  output.replaceChildren();
  table.hidden = true;
  status.classList.remove("bad");
  status.textContent = "Generating …";
  byId("stop").disabled = false;
  let reason = null;
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) },
      body: JSON.stringify(body),
      signal: own.signal,
    });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    for await (const event of events(answer.body)) {
      if (event.error) throw new Error(event.error.message);
      for (const choice of event.choices) {
        read(choice).forEach(add);
        reason = choice.finish_reason ?? reason;
      }
    }
    status.textContent = `${output.childElementCount} tokens; ${reason === "stop" ? "the text ended" : "a limit was reached"}.`;
  } catch (error) {
    if (own !== running) return;
    const stopped = error.name === "AbortError";
    status.classList.toggle("bad", !stopped);
    status.textContent = stopped ? `Stopped after ${output.childElementCount} tokens.` : error.message;
  }
  if (own === running) byId("stop").disabled = true;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});
byId("stop").addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) generate();
});
output.addEventListener("keydown", (event) => {
  const steps = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" };
  const next = event.target[steps[event.key]];
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
about().catch((error) => {
  byId("standing").textContent = error.message;
});

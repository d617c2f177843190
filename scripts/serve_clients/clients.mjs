// Uses `rbees-check serve` with the official `openai` client of npm: chat, streaming, log-probabilities, stop strings,
// errors. Prints one line per check, and exits with 1 if one fails.
//
//     npm ci --prefix scripts/serve_clients
//     node scripts/serve_clients/clients.mjs http://127.0.0.1:8080

import OpenAI from "openai";

const [base = "http://127.0.0.1:8080", apiKey = "no key is needed"] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "And the king said unto" }];
const chat = (more = {}) => client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 24, ...more });
let failed = 0;

function check(name, holds, shown = "") {
  failed += holds ? 0 : 1;
  console.log(`${holds ? "ok  " : "FAIL"}  ${name}  ${shown}`);
}

async function refused(name, status, call, param = undefined) {
  try {
    await call();
    check(name, false, "no error");
  } catch (error) {
    check(name, error.status === status && (param === undefined || error.param === param), `${error.status} ${error.code} ${error.param}`);
  }
}

const whole = await chat();
const text = whole.choices[0].message.content;
check("chat", text.length > 0 && whole.usage.completion_tokens <= 24, JSON.stringify(text));

let joined = "";
let last = null;
for await (const part of await chat({ stream: true, stream_options: { include_usage: true } })) {
  joined += part.choices[0]?.delta?.content ?? "";
  last = part;
}
check("chat, streamed: the same text", joined === text);
check("chat, streamed: usage", last.usage.total_tokens === whole.usage.total_tokens, last.usage.total_tokens);

const tokens = (await chat({ logprobs: true, top_logprobs: 3 })).choices[0].logprobs.content;
check("log-probabilities: bytes are the text", Buffer.from(tokens.flatMap((token) => token.bytes)).toString() === text);
check("log-probabilities: greedy is the most likely", tokens.every((token) => token.logprob === token.top_logprobs[0].logprob));

const stop = [...text].slice(text.length / 2, text.length / 2 + 3).join("");
const stopped = (await chat({ stop })).choices[0];
check("stop", stopped.message.content === text.slice(0, text.indexOf(stop)) && stopped.finish_reason === "stop", JSON.stringify(stop));

const runner = client.chat.completions.stream({ model, messages, temperature: 0, max_tokens: 24 });
check("the client's own accumulation of a stream", (await runner.finalContent()) === text);

const abandoned = await chat({ stream: true, max_tokens: 900 });
for await (const _ of abandoned) break;
check("a stream that the client leaves", (await chat()).choices[0].message.content === text);

const prompt = "And the king";
const legacy = await client.completions.create({ model, prompt, max_tokens: 8, temperature: 0, logprobs: 2 });
check("completion", legacy.choices[0].logprobs.tokens.length === 8, JSON.stringify(legacy.choices[0].text));

await refused("error: tools", 400, () => chat({ tools: [{ type: "function", function: { name: "f", parameters: {} } }] }), "tools");
await refused("error: a wrong value", 400, () => chat({ temperature: 3 }), "temperature");
await refused("error: another model", 404, () => chat({ model: "gpt-4" }));

console.log(`${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

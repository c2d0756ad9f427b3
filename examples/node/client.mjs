// Uses a running Anser server through the official OpenAI client: only the base URL is changed.
//
//   anser demo                       in one terminal
//   npm ci && node client.mjs        in another; ANSER_URL names another server

import assert from "node:assert/strict";
import OpenAI from "openai";

const url = process.env.ANSER_URL ?? "http://127.0.0.1:8080";
const collection = process.env.ANSER_COLLECTION ?? "shop-faq";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.ANSER_API_KEY ?? "unused", maxRetries: 0 });

const served = [];
for await (const model of client.models.list()) served.push(model.id);
console.log("models:", served.join(", "));
const embedder = served.find((name) => /bge|MiniLM-L6/.test(name));
const chatModel = served.find((name) => name.includes("Instruct"));

// Left to itself this client asks for base64 and decodes it.
const vectors = await client.embeddings.create({ model: embedder, input: ["free delivery", "no shipping costs", "the kettle leaks"] });
const [a, b, c] = vectors.data.map((item) => item.embedding);
const cosine = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
assert.ok(cosine(a, b) > cosine(a, c), "related phrases must be closer");
console.log(`embeddings: ${a.length} dimensions, related ${cosine(a, b).toFixed(2)} > unrelated ${cosine(a, c).toFixed(2)}`);

const messages = [{ role: "user", content: "What is the capital of France? Answer in one short sentence." }];
const whole = await client.chat.completions.create({ model: chatModel, messages, temperature: 0, max_tokens: 40 });
console.log("chat:", whole.choices[0].message.content);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ model: chatModel, messages, temperature: 0, max_tokens: 40, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, whole.choices[0].message.content);

await assert.rejects(client.embeddings.create({ model: "no-such-model", input: "hello" }), OpenAI.NotFoundError);

const reply = await fetch(`${url}/v1/collections/${collection}/answers`, {
  method: "POST",
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${client.apiKey}` },
  body: JSON.stringify({ question: "Until when is a gift card valid?" }),
});
assert.equal(reply.status, 200);
const answer = await reply.json();
console.log("answer:", answer.text);
assert.ok(answer.citations.length > 0, "the answer must be cited");
for (const citation of answer.citations) console.log(`  [${citation.number}] ${citation.document_id}: ${citation.quote}`);
console.log("ok");

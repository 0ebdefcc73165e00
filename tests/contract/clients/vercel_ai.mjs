// The AI SDK of Vercel, which knows us as one of many that speak OpenAI's API.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText } from "ai";
import assert from "node:assert/strict";
import test from "node:test";

const { GATEWAY, KEY, ADAPTER, BASE } = process.env;
const provider = (apiKey = KEY) =>
  createOpenAICompatible({ name: "freesolo", baseURL: GATEWAY, apiKey, includeUsage: true });
const asked = {
  model: provider()(ADAPTER),
  prompt: "hello",
  temperature: 0,
  maxOutputTokens: 12,
  maxRetries: 0,
};

test("text is generated and counted", async () => {
  const answer = await generateText(asked);
  assert.ok(answer.text);
  assert.equal(answer.finishReason, "length");
  assert.equal(answer.usage.outputTokens, 12);
  assert.ok(answer.usage.inputTokens > 0);
  assert.equal(typeof answer.usage.inputTokenDetails.cacheReadTokens, "number");
});

test("a stream says the same and is counted", async () => {
  const stream = streamText(asked);
  let said = "";
  for await (const piece of stream.textStream) said += piece;
  assert.equal(said, (await generateText(asked)).text);
  assert.equal((await stream.usage).outputTokens, 12);
  assert.equal(await stream.finishReason, "length");
});

test("a stream that is aborted ends early and says so", async () => {
  const leaving = new AbortController();
  const kinds = new Set();
  const stream = streamText({
    ...asked,
    maxOutputTokens: 900,
    temperature: 1,
    abortSignal: leaving.signal,
  });
  let pieces = 0;
  for await (const part of stream.fullStream) {
    kinds.add(part.type);
    if (part.type === "text-delta" && ++pieces === 3) leaving.abort();
  }
  assert.ok(kinds.has("abort"));
  assert.ok(!kinds.has("finish"));
  assert.ok(pieces < 900);
});

test("a call that is aborted is rejected", async () => {
  const request = generateText({ ...asked, maxOutputTokens: 900, abortSignal: AbortSignal.timeout(50) });
  await assert.rejects(request);
});

test("a base model and an adapter take turns in one provider", async () => {
  const base = await generateText({ ...asked, model: provider()(BASE) });
  assert.notEqual(base.text, (await generateText(asked)).text);
});

for (const [status, model, key] of [
  [401, ADAPTER, "fslo_nobody"],
  [404, "nobody", KEY],
]) {
  test(`what is refused with ${status} is an error of a call, with its message`, async () => {
    const request = generateText({ ...asked, model: provider(key)(model) });
    await assert.rejects(request, (error) => {
      assert.ok(APICallError.isInstance(error));
      assert.equal(error.statusCode, status);
      assert.ok(error.message.length > 10);
      assert.ok(!error.isRetryable);
      return true;
    });
  });
}

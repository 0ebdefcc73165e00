// The official client for JavaScript, by node's own test runner.

import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";

const { GATEWAY, KEY, POOR, ADAPTER, BASE } = process.env;
const client = new OpenAI({ baseURL: GATEWAY, apiKey: KEY, maxRetries: 0 });
const asked = {
  model: ADAPTER,
  messages: [{ role: "user", content: "hello" }],
  temperature: 0,
  max_tokens: 12,
};
const ask = (options = {}) => client.chat.completions.create({ ...asked, ...options });

test("an answer has its text, its model and its counts", async () => {
  const answer = await ask();
  assert.equal(answer.model, ADAPTER);
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.equal(answer.usage.completion_tokens, 12);
  assert.equal(typeof answer.usage.prompt_tokens_details.cached_tokens, "number");
  assert.ok(answer._request_id);
});

test("a stream says the same and ends with its counts", async () => {
  const stream = await ask({ stream: true, stream_options: { include_usage: true } });
  let said = "";
  let last;
  for await (last of stream) said += last.choices[0]?.delta.content ?? "";
  assert.equal(said, (await ask()).choices[0].message.content);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 12);
});

test("the helper for streams puts the answer together", async () => {
  const final = await client.chat.completions.stream(asked).finalChatCompletion();
  assert.equal(final.choices[0].message.content, (await ask()).choices[0].message.content);
});

test("an answer is parsed by its schema", async () => {
  const schema = {
    type: "object",
    properties: { mood: { enum: ["good", "bad"] } },
    required: ["mood"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.parse({
    ...asked,
    temperature: 1,
    max_tokens: 400,
    response_format: { type: "json_schema", json_schema: { name: "verdict", strict: true, schema } },
  });
  assert.ok(["good", "bad"].includes(JSON.parse(answer.choices[0].message.content).mood));
});

test("several answers come at once, each token with its probability", async () => {
  const answer = await ask({ n: 2, logprobs: true, top_logprobs: 1 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  assert.equal(answer.choices[0].logprobs.content.length, 12);
});

test("a caller who leaves a stream gets nothing more", async () => {
  const stream = await ask({ stream: true, max_tokens: 900 });
  let chunks = 0;
  for await (const _ of stream) if (++chunks === 3) stream.controller.abort();
  assert.ok(chunks < 900);
});

for (const [status, kind, options, key] of [
  [401, OpenAI.AuthenticationError, {}, "fslo_nobody"],
  [402, OpenAI.APIError, { model: BASE }, POOR],
  [404, OpenAI.NotFoundError, { model: "nobody" }, KEY],
  [400, OpenAI.BadRequestError, { temperature: 3 }, KEY],
  [422, OpenAI.UnprocessableEntityError, { chat_template_kwargs: { enable_thinking: true } }, KEY],
]) {
  test(`what is refused with ${status} raises the client's own class of error`, async () => {
    const other = client.withOptions({ apiKey: key });
    const request = other.chat.completions.create({ ...asked, ...options });
    await assert.rejects(request, (error) => {
      assert.ok(error instanceof kind);
      assert.equal(error.status, status);
      assert.ok(error.message);
      return true;
    });
  });
}

test("models are listed and shown", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(ADAPTER) && ids.includes(BASE));
  assert.equal((await client.models.retrieve(BASE)).id, BASE);
});

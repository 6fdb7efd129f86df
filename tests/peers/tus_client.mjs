// One upload by tus-js-client, told as JSON lines on stdout. The argument is a JSON object: file,
// endpoint, key, protocol, chunkSize, deferred (the length follows), retry, pauseAt (stop once so
// many bytes have gone out) and terminate (call it off when it has stopped). A line on stdin stops
// it as well, the next one, {"uploadUrl": ...}, lets it go on there.
import fs from "node:fs";
import readline from "node:readline";
import { PassThrough } from "node:stream";
import { Upload } from "tus-js-client";

const asked = JSON.parse(process.argv[2]);
const say = (event) => console.log(JSON.stringify(event));
let paused = false;

const upload = new Upload(
  asked.deferred
    ? new PassThrough({ highWaterMark: 1 << 26 }).end(fs.readFileSync(asked.file))
    : fs.readFileSync(asked.file),
  {
    endpoint: asked.endpoint,
    headers: { "X-API-Key": asked.key },
    chunkSize: asked.chunkSize ?? Infinity,
    uploadLengthDeferred: asked.deferred ?? false,
    protocol: asked.protocol ?? "tus-v1",
    retryDelays: asked.retry ? [100, 200, 400, 800, 1600, 3200, 3200, 3200, 3200] : null,
    metadata: { filename: "a file.bin" },
    onProgress: progress,
    onSuccess: () => {
      say({ event: "done", url: upload.url });
      process.exit(0);
    },
    onError: (error) => {
      say({ event: "failed", status: error.originalResponse?.getStatus() ?? 0 });
      process.exit(1);
    },
  },
);

function progress(sent) {
  say({ event: "sent", bytes: sent });
  if (sent >= (asked.pauseAt ?? Infinity)) void pause();
}

async function pause() {
  if (paused) return;
  paused = true;
  await upload.abort(asked.terminate ?? false);
  say({ event: "paused", url: upload.url });
  if (asked.terminate) process.exit(0);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { uploadUrl } = JSON.parse(line);
  if (!paused) return void pause();
  if (uploadUrl) upload.url = uploadUrl;
  upload.start();
});
upload.start();

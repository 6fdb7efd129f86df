// @tus/server with @tus/file-store on a free port, until its stdin ends. Prints the port.
// Arguments: the directory of the files, "relative" for relative Locations, and "hold" to take no
// more of the first upload than a piece until a line comes in, which it says.
import http from "node:http";
import { Readable } from "node:stream";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [directory, location, mode] = process.argv.slice(2);
let holds = mode === "hold";

class HoldingStore extends FileStore {
  async write(bytes, id, offset) {
    return super.write(Readable.from(held(bytes)), id, offset);
  }
}

async function* held(bytes) {
  for await (const piece of bytes) {
    yield piece;
    if (holds) {
      holds = false;
      console.log("holding");
      await new Promise((resolve) => process.stdin.once("data", resolve));
    }
  }
}

const tus = new Server({
  path: "/uploads",
  datastore: new HoldingStore({ directory }),
  relativeLocation: location === "relative",
});
const server = http.createServer((request, response) => tus.handle(request, response));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();

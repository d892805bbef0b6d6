// A server and a client of connect-node for the shop of tests/pcaps/grpc/shop.proto: gRPC and gRPC-Web.
//   rpc.mjs serve 1|2|tls DESCRIPTORS [KEY CERT]     prints its port
//   rpc.mjs call grpc|web PORT 1|2|tls DESCRIPTORS   an order, one that fails, and a stream
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

// Modules are found from the directory in which npm put them.
const require = createRequire(path.join(process.cwd(), 'x.js'));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { createFileRegistry, fromBinary } = await load('@bufbuild/protobuf');
const { FileDescriptorSetSchema } = await load('@bufbuild/protobuf/wkt');
const { Code, ConnectError, createClient } = await load('@connectrpc/connect');
const { connectNodeAdapter, createGrpcTransport, createGrpcWebTransport } = await load('@connectrpc/connect-node');

function shop(descriptors) {
	const set = fromBinary(FileDescriptorSetSchema, readFileSync(descriptors));
	return createFileRegistry(set).getService('remora.test.Shop');
}

function serve(version, descriptors, key, cert) {
	const handler = connectNodeAdapter({
		routes: (router) =>
			router.service(shop(descriptors), {
				order(cart, context) {
					context.responseTrailer.set('x-token', 'trailing secret');
					if (!cart.customer) throw new ConnectError('who? 100%', Code.InvalidArgument);
					return { id: `for ${cart.customer}`, total: cart.items.length };
				},
				async *watch(cart) {
					for (const id of ['first', 'second', 'third']) yield { id, total: cart.items.length };
				},
			}),
	});
	const secure = () => ({ key: readFileSync(key), cert: readFileSync(cert) });
	const server = { 1: () => http.createServer(handler), 2: () => http2.createServer(handler),
		tls: () => http2.createSecureServer(secure(), handler) }[version]();
	server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}

async function call(kind, port, version, descriptors) {
	const options = {
		baseUrl: `${version === 'tls' ? 'https' : 'http'}://127.0.0.1:${port}`,
		httpVersion: version === '1' ? '1.1' : '2',
		nodeOptions: version === 'tls' ? { rejectUnauthorized: false } : {},
	};
	const transport = { grpc: createGrpcTransport, web: createGrpcWebTransport }[kind](options);
	const client = createClient(shop(descriptors), transport);
	const headers = { authorization: 'Bearer leading secret', 'x-shop': 'corner' };
	const cart = { customer: 'Ada', items: [{ name: 'pear', delta: -2 }], stock: { pear: 4 }, currency: 1 };
	const receipt = await client.order(cart, { headers });
	if (receipt.id !== 'for Ada') throw new Error(receipt.id);
	const refused = await client.order({}).catch((error) => error);
	if (refused.code !== Code.InvalidArgument) throw refused;
	let seen = 0;
	for await (const receipt of client.watch(cart)) seen += receipt.total;
	if (seen !== 3) throw new Error(seen);
	process.exit(0);
}

const [what, ...words] = process.argv.slice(2);
await { serve, call }[what](...words);

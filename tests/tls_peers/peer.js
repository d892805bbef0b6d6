// An HTTPS server and a client of Node's: https, and http2.
const [kind, port] = process.argv.slice(-2);
const fs = require('fs'), http2 = require('http2'), https = require('https'), tls = require('tls');
const from = { host: '127.0.0.1', port: Number(port), rejectUnauthorized: false };

function serve() {
	const keys = { key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem'), allowHTTP1: true };
	const server = http2.createSecureServer(keys, (request, response) => {
		let asked = '';
		request.on('data', (part) => (asked += part));
		request.on('end', () => {
			const body = `${request.method} ${request.url} from ${request.socket.remotePort}: ${asked}`;
			response.writeHead(203, { 'content-length': body.length });
			response.end(body);
		});
	});
	// Connections may wait for each other for long on a busy machine.
	server.keepAliveTimeout = 600000;
	server.listen(0, '127.0.0.1', 4096, () => console.log(server.address().port));
}

const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ...from });
function over1(path, asked, done) {
	const headers = { 'content-length': asked.length };
	const request = https.request({ ...from, agent, path, method: 'POST', headers }, (response) => {
		let body = '';
		response.on('data', (part) => (body += part));
		response.on('end', () => done(`${response.statusCode} ${body}`));
	});
	request.end(asked);
}

let session;
function over2(path, asked, done) {
	session ??= http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
	const request = session.request({ ':method': 'POST', ':path': path });
	let status, body = '';
	request.on('response', (headers) => (status = headers[':status']));
	request.on('data', (part) => (body += part));
	request.on('end', () => done(`${status} ${body}`));
	request.end(asked);
}

function open() {
	return new Promise((done, failed) => {
		const socket = tls.connect({ ...from, ALPNProtocols: ['http/1.1'] }, () => done(socket));
		socket.on('error', failed);
	});
}

function talk(socket, n, half) {
	return new Promise((done) => {
		const path = `/many/${n}-${half}`, asked = `<${n}${half}>`.repeat(1 + (n % 50)), own = socket.localPort;
		const expected = `POST ${path} from ${own}: ${asked}`;
		let got = '';
		const more = (part) => {
			got += part;
			const [, body] = got.split('\r\n\r\n');
			if (body === undefined || body.length < expected.length) return;
			if (body !== expected) throw new Error(body);
			socket.removeListener('data', more).removeAllListeners('end');
			done();
		};
		socket.on('data', more);
		socket.on('end', () => { throw new Error(`ended after ${got}`); });
		socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nX-Port: ${own}\r\nContent-Length: ${asked.length}\r\n\r\n${asked}`);
	});
}

async function many(count, done) {
	const sockets = await Promise.all(Array.from({ length: count }, open));
	for (const half of ['a', 'b']) await Promise.all(sockets.map((socket, n) => talk(socket, n, half)));
	sockets.forEach((socket) => socket.removeAllListeners('end').end());
	done('done');
}

function ask() {
	require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
		const [kind, path, asked] = line.split(' '), done = (text) => console.log(text);
		if (kind === 'many') many(Number(path), done);
		else (kind === '2' ? over2 : over1)(path, asked, done);
	});
}

kind === 'serve' || port === 'serve' ? serve() : ask();

// A GraphQL server (graphql-http) over HTTP/2 in clear text, and a client of Node's own.
//   graphql.mjs serve              prints its port
//   graphql.mjs call PORT          a query, a mutation with a credential, one that fails, a GET; one connection
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(path.join(process.cwd(), 'x.js'));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { buildSchema } = await load('graphql');
const { createHandler } = await load('graphql-http/lib/use/http2');

function serve() {
	const schema = buildSchema(`
		type User { id: ID! name: String }
		type Query { user(id: ID!): User }
		type Mutation { login(name: String!, password: String!): User }`);
	const rootValue = {
		user: ({ id }) => {
			if (id === '0') throw new Error('no such user');
			return { id, name: `user ${id}` };
		},
		login: ({ name }) => ({ id: '1', name }),
	};
	const server = http2.createServer(createHandler({ schema, rootValue }));
	server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}

async function call(port) {
	const session = http2.connect(`http://127.0.0.1:${port}`);
	const ask = (headers, body) =>
		new Promise((done, failed) => {
			const request = session.request({ ':path': '/graphql', accept: 'application/json', ...headers });
			let text = '';
			request.setEncoding('utf8');
			request.on('data', (part) => (text += part));
			request.on('end', () => done(JSON.parse(text)));
			request.on('error', failed);
			request.end(body);
		});
	const post = (body) => ask({ ':method': 'POST', 'content-type': 'application/json' }, JSON.stringify(body));
	const user = 'query User($id: ID!) { user(id: $id) { id name } }';
	await post({ query: user, operationName: 'User', variables: { id: '7' } });
	const login = 'mutation Login($n: String!, $password: String!) { login(name: $n, password: $password) { id } }';
	await post({ query: login, variables: { n: 'ada', password: 'open sesame' } });
	const { errors } = await post({ query: user, variables: { id: '0' } });
	if (errors.length !== 1) throw new Error(JSON.stringify(errors));
	await ask({ ':path': `/graphql?query=${encodeURIComponent('{ user(id: "3") { id } }')}` });
	process.exit(0);
}

const [what, ...words] = process.argv.slice(2);
await { serve, call }[what](...words);

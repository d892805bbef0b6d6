/*
 * An HTTPS server and a client with OpenSSL, linked into the program: the server with SSL_read and
 * SSL_write, the client with SSL_read_ex and SSL_write_ex.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/ssl.h>

#define ROOM 65536

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int take(SSL *ssl, char *to, int room)
{
	size_t length;

	if (SSL_is_server(ssl))
		return SSL_read(ssl, to, room);
	return SSL_read_ex(ssl, to, room, &length) ? (int)length : 0;
}

static void give(SSL *ssl, const char *text)
{
	size_t length = strlen(text);

	if (SSL_is_server(ssl) ? SSL_write(ssl, text, length) <= 0 : !SSL_write_ex(ssl, text, length, &length))
		exit(1);
}

/* A whole message, which is all that comes until the other side has it; its body, or NULL at the end. */
static char *message(SSL *ssl, char *text)
{
	int length = 0;

	for (;;) {
		int more = take(ssl, text + length, ROOM - 1 - length);
		char *body, *head;

		if (more <= 0)
			return NULL;
		text[length += more] = 0;
		body = strstr(text, "\r\n\r\n");
		head = body ? strcasestr(text, "\r\nContent-Length:") : NULL;
		if (body && text + length - (body + 4) >= (head ? atoi(head + 17) : 0))
			return body + 4;
	}
}

static void *answer(void *ssl)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	static __thread char text[ROOM], said[2 * ROOM], whole[3 * ROOM];
	char *body;

	if (SSL_accept(ssl) != 1)
		return NULL;
	getpeername(SSL_get_fd(ssl), (struct sockaddr *)&peer, &size);
	while ((body = message(ssl, text))) {
		char *method = strtok(text, " "), *path = strtok(NULL, " ");

		snprintf(said, sizeof(said), "%s %s from %d: %s", method, path, ntohs(peer.sin_port), body);
		snprintf(whole, sizeof(whole), "HTTP/1.1 203 Mine\r\nContent-Length: %zu\r\n\r\n%s", strlen(said), said);
		give(ssl, whole);
	}
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
	return NULL;
}

static void serve(SSL_CTX *context)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(own);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (SSL_CTX_use_certificate_chain_file(context, "cert.pem") != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, "key.pem", SSL_FILETYPE_PEM) != 1)
		die("key");
	if (bind(listener, (struct sockaddr *)&own, size) || listen(listener, 100) ||
	    getsockname(listener, (struct sockaddr *)&own, &size))
		die("listen");
	printf("%d\n", ntohs(own.sin_port));
	fflush(stdout);
	for (;;) {
		SSL *ssl = SSL_new(context);
		pthread_t thread;

		SSL_set_fd(ssl, accept(listener, NULL, NULL));
		if (pthread_create(&thread, NULL, answer, ssl) || pthread_detach(thread))
			die("thread");
	}
}

static void ask(SSL_CTX *context, int port)
{
	struct sockaddr_in server = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)
	};
	static char line[ROOM], path[ROOM], asked[ROOM], text[3 * ROOM];
	int connection = socket(AF_INET, SOCK_STREAM, 0);
	SSL *ssl = SSL_new(context);

	if (connect(connection, (struct sockaddr *)&server, sizeof(server)))
		die("connect");
	SSL_set_fd(ssl, connection);
	if (SSL_connect(ssl) != 1)
		die("handshake");
	while (fgets(line, sizeof(line), stdin) && sscanf(line, "%*s %s %s", path, asked) == 2) {
		char *body;

		snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", path,
			 strlen(asked), asked);
		give(ssl, text);
		body = message(ssl, text);
		if (!body)
			die("answer");
		printf("%.3s %s\n", text + 9, body);
		fflush(stdout);
	}
}

int main(int count, char **words)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());

	if (count == 2 && !strcmp(words[1], "serve"))
		serve(context);
	else if (count == 3 && !strcmp(words[1], "ask"))
		ask(context, atoi(words[2]));
	return 0;
}

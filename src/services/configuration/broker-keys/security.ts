/**
 * Broker settings of TLS, SASL, authorization and delegation tokens. There is no security yet: setting one of them is said
 * loudly at start, because whoever sets it counts on it.
 */
import {
  atLeast,
  between,
  type ConfigType,
  define,
  oneOf,
  oneOfAnyCase,
  type Validator,
} from '../config-definition.ts';

/** Not there yet; in Kafka changed for one listener while running. */
function ofListener<const Name extends string, const Type extends ConfigType>(
  name: Name,
  type: Type,
  defaultValue: string | number | boolean | null,
  documentation: string,
  valid?: Validator,
) {
  return define(name, type, defaultValue, documentation, {
    ...(valid === undefined ? {} : { valid }),
    update: 'per-broker',
    standing: 'absent',
  });
}

/** Not there yet. */
function fixed<const Name extends string, const Type extends ConfigType>(
  name: Name,
  type: Type,
  defaultValue: string | number | boolean | null,
  documentation: string,
  valid?: Validator,
) {
  return define(name, type, defaultValue, documentation, {
    ...(valid === undefined ? {} : { valid }),
    standing: 'absent',
  });
}

export const securityKeys = [
  fixed(
    'authorizer.class.name',
    'STRING',
    '',
    'The Java class that decides who may do what. None can run here.',
  ),
  ofListener(
    'principal.builder.class',
    'CLASS',
    'org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder',
    'The Java class that names the user of a connection.',
  ),
  fixed('security.providers', 'STRING', null, 'Java classes that provide security algorithms.'),
  fixed(
    'connection.failed.authentication.delay.ms',
    'INT',
    100,
    'How long a connection that failed to authenticate stays open.',
    atLeast(0),
  ),
  fixed(
    'connections.max.reauth.ms',
    'LONG',
    0,
    'How long a connection may go without authenticating again; 0 for ever.',
  ),

  // TLS.
  ofListener(
    'ssl.client.auth',
    'STRING',
    'none',
    'Whether clients must show a certificate.',
    oneOf('required', 'requested', 'none'),
  ),
  ofListener('ssl.protocol', 'STRING', 'TLSv1.3', 'The newest TLS version spoken.'),
  ofListener('ssl.enabled.protocols', 'LIST', 'TLSv1.2,TLSv1.3', 'TLS versions spoken.'),
  ofListener('ssl.cipher.suites', 'LIST', '', 'Cipher suites offered; empty for all.'),
  ofListener('ssl.provider', 'STRING', null, 'The provider of TLS.'),
  ofListener('ssl.engine.factory.class', 'CLASS', null, 'The Java class that makes TLS engines.'),
  ofListener('ssl.keystore.location', 'STRING', null, 'File with the key and certificate.'),
  ofListener('ssl.keystore.type', 'STRING', 'JKS', 'Kind of that file.'),
  ofListener('ssl.keystore.password', 'PASSWORD', null, 'Password of that file.'),
  ofListener('ssl.key.password', 'PASSWORD', null, 'Password of the key.'),
  ofListener('ssl.keystore.key', 'PASSWORD', null, 'The key itself, in PEM.'),
  ofListener('ssl.keystore.certificate.chain', 'PASSWORD', null, 'The certificates themselves, in PEM.'),
  ofListener('ssl.truststore.location', 'STRING', null, 'File with the certificates trusted.'),
  ofListener('ssl.truststore.type', 'STRING', 'JKS', 'Kind of that file.'),
  ofListener('ssl.truststore.password', 'PASSWORD', null, 'Password of that file.'),
  ofListener('ssl.truststore.certificates', 'PASSWORD', null, 'The certificates trusted themselves, in PEM.'),
  ofListener('ssl.keymanager.algorithm', 'STRING', 'SunX509', 'Algorithm that chooses keys.'),
  ofListener('ssl.trustmanager.algorithm', 'STRING', 'PKIX', 'Algorithm that checks certificates.'),
  ofListener('ssl.secure.random.implementation', 'STRING', null, 'Source of random numbers for TLS.'),
  ofListener(
    'ssl.endpoint.identification.algorithm',
    'STRING',
    'https',
    'How the name in a certificate is checked.',
  ),
  fixed('ssl.principal.mapping.rules', 'STRING', 'DEFAULT', 'How the name in a certificate becomes a user.'),
  fixed('ssl.allow.dn.changes', 'BOOLEAN', false, 'A new certificate may name another subject.'),
  fixed('ssl.allow.san.changes', 'BOOLEAN', false, 'A new certificate may name other hosts.'),

  // SASL.
  ofListener('sasl.enabled.mechanisms', 'LIST', 'GSSAPI', 'SASL mechanisms offered.'),
  ofListener('sasl.jaas.config', 'PASSWORD', null, 'Users and secrets, as a JAAS entry.'),
  ofListener(
    'sasl.mechanism.inter.broker.protocol',
    'STRING',
    'GSSAPI',
    'Mechanism that brokers use among themselves.',
  ),
  fixed(
    'sasl.mechanism.controller.protocol',
    'STRING',
    'GSSAPI',
    'Mechanism that brokers use with controllers.',
  ),
  fixed('sasl.client.callback.handler.class', 'CLASS', null, 'Java class that answers for a client.'),
  fixed('sasl.server.callback.handler.class', 'CLASS', null, 'Java class that answers for the server.'),
  fixed('sasl.login.callback.handler.class', 'CLASS', null, 'Java class that answers at login.'),
  fixed('sasl.login.class', 'CLASS', null, 'Java class that logs in.'),
  fixed(
    'sasl.server.max.receive.size',
    'INT',
    524288,
    'The largest message taken before a client is authenticated.',
  ),
  fixed(
    'sasl.login.connect.timeout.ms',
    'INT',
    null,
    'How long to wait for a connection to the token server.',
  ),
  fixed('sasl.login.read.timeout.ms', 'INT', null, 'How long to wait for its answer.'),
  fixed('sasl.login.retry.backoff.ms', 'LONG', 100, 'Pause before it is asked again.'),
  fixed('sasl.login.retry.backoff.max.ms', 'LONG', 10000, 'The longest such pause.'),
  ofListener(
    'sasl.login.refresh.buffer.seconds',
    'SHORT',
    300,
    'How long before its end a token is renewed.',
  ),
  ofListener('sasl.login.refresh.min.period.seconds', 'SHORT', 60, 'The least time between two renewals.'),
  ofListener(
    'sasl.login.refresh.window.factor',
    'DOUBLE',
    0.8,
    'Part of its life after which a token is renewed.',
  ),
  ofListener('sasl.login.refresh.window.jitter', 'DOUBLE', 0.05, 'Random part of that time.'),
  ofListener('sasl.kerberos.service.name', 'STRING', null, 'Name of the service in Kerberos.'),
  ofListener('sasl.kerberos.kinit.cmd', 'STRING', '/usr/bin/kinit', 'The kinit program.'),
  ofListener('sasl.kerberos.min.time.before.relogin', 'LONG', 60000, 'The least time between two logins.'),
  ofListener(
    'sasl.kerberos.principal.to.local.rules',
    'LIST',
    'DEFAULT',
    'How the name in Kerberos becomes a user.',
  ),
  ofListener('sasl.kerberos.ticket.renew.jitter', 'DOUBLE', 0.05, 'Random part of the time of renewal.'),
  ofListener(
    'sasl.kerberos.ticket.renew.window.factor',
    'DOUBLE',
    0.8,
    'Part of its life after which a ticket is renewed.',
  ),

  // OAUTHBEARER.
  fixed('sasl.oauthbearer.allow.unverified.audience', 'BOOLEAN', false, 'Tokens for any audience are taken.'),
  fixed('sasl.oauthbearer.allow.unverified.issuer', 'BOOLEAN', false, 'Tokens of any issuer are taken.'),
  fixed(
    'sasl.oauthbearer.assertion.algorithm',
    'STRING',
    'RS256',
    'Algorithm that signs an assertion.',
    oneOfAnyCase('ES256', 'RS256'),
  ),
  fixed('sasl.oauthbearer.assertion.claim.aud', 'STRING', null, 'Audience of an assertion.'),
  fixed(
    'sasl.oauthbearer.assertion.claim.exp.seconds',
    'INT',
    300,
    'Life of an assertion.',
    between(0, 86400),
  ),
  fixed('sasl.oauthbearer.assertion.claim.iss', 'STRING', null, 'Issuer of an assertion.'),
  fixed('sasl.oauthbearer.assertion.claim.jti.include', 'BOOLEAN', false, 'Assertions have an id.'),
  fixed(
    'sasl.oauthbearer.assertion.claim.nbf.seconds',
    'INT',
    60,
    'How long before now an assertion starts to hold.',
    between(0, 3600),
  ),
  fixed('sasl.oauthbearer.assertion.claim.sub', 'STRING', null, 'Subject of an assertion.'),
  fixed('sasl.oauthbearer.assertion.file', 'STRING', null, 'File with a ready assertion.'),
  fixed(
    'sasl.oauthbearer.assertion.private.key.file',
    'STRING',
    null,
    'File with the key that signs assertions.',
  ),
  fixed('sasl.oauthbearer.assertion.private.key.passphrase', 'PASSWORD', null, 'Password of that key.'),
  fixed('sasl.oauthbearer.assertion.template.file', 'STRING', null, 'File with more claims for assertions.'),
  fixed(
    'sasl.oauthbearer.client.credentials.client.id',
    'STRING',
    null,
    'Id with which a token is asked for.',
  ),
  fixed('sasl.oauthbearer.client.credentials.client.secret', 'PASSWORD', null, 'Secret of that id.'),
  fixed('sasl.oauthbearer.clock.skew.seconds', 'INT', 30, 'How far the clocks may differ.'),
  fixed('sasl.oauthbearer.expected.audience', 'LIST', '', 'Audiences that a token may be for.'),
  fixed('sasl.oauthbearer.expected.issuer', 'STRING', null, 'Issuer that a token must be of.'),
  fixed(
    'sasl.oauthbearer.jwks.endpoint.url',
    'STRING',
    null,
    'Where the public keys of the issuer are found.',
  ),
  fixed('sasl.oauthbearer.jwks.endpoint.refresh.ms', 'LONG', 3600000, 'How often those keys are read again.'),
  fixed(
    'sasl.oauthbearer.jwks.endpoint.retry.backoff.ms',
    'LONG',
    100,
    'Pause before they are asked for again.',
  ),
  fixed('sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms', 'LONG', 10000, 'The longest such pause.'),
  fixed(
    'sasl.oauthbearer.jwt.retriever.class',
    'CLASS',
    'org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever',
    'Java class that gets tokens.',
  ),
  fixed(
    'sasl.oauthbearer.jwt.validator.class',
    'CLASS',
    'org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator',
    'Java class that checks tokens.',
  ),
  fixed('sasl.oauthbearer.scope', 'STRING', null, 'Scope with which a token is asked for.'),
  fixed('sasl.oauthbearer.scope.claim.name', 'STRING', 'scope', 'Claim that holds the scope.'),
  fixed('sasl.oauthbearer.sub.claim.name', 'STRING', 'sub', 'Claim that holds the user.'),
  fixed('sasl.oauthbearer.token.endpoint.url', 'STRING', null, 'Where tokens are asked for.'),

  // Delegation tokens.
  fixed('delegation.token.secret.key', 'PASSWORD', null, 'Secret that signs delegation tokens.'),
  fixed(
    'delegation.token.expiry.time.ms',
    'LONG',
    86400000,
    'How long a delegation token holds before it must be renewed.',
    atLeast(1),
  ),
  fixed('delegation.token.max.lifetime.ms', 'LONG', 604800000, 'How long it can be renewed.', atLeast(1)),
  fixed(
    'delegation.token.expiry.check.interval.ms',
    'LONG',
    3600000,
    'How often old ones are removed.',
    atLeast(1),
  ),
] as const;

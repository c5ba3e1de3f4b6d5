// Imports go one way: connection -> handlers -> services -> storage, with protocol/ and util/ below. Think before editing:
// an exception here is a layer lost.
const only = (name, from, allowed) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: { path: '^(src|protocol)/', pathNot: allowed },
});

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: { path: '^(src|protocol)/' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    only('protocol-knows-only-itself', '^protocol/', '^protocol/'),
    only('util-knows-nothing', '^src/util/', '^src/util/'),
    only('telemetry', '^src/telemetry/', '^src/(telemetry|util)/'),
    only('storage-knows-nothing-of-kafka', '^src/storage/', '^src/(storage|util)/'),
    {
      name: 'services-see-only-the-engine-interface',
      severity: 'error',
      from: { path: '^src/services/' },
      to: { path: '^src/(storage/(?!engine\\.ts)|handlers|connection|admin|gateway|main|config|index)' },
    },
    only(
      'handlers',
      '^src/handlers/',
      '^(src/(handlers|services|telemetry|util)/|src/storage/engine\\.ts|protocol/)',
    ),
    only('connection', '^src/connection/', '^(src/(connection|handlers|telemetry|util)/|protocol/)'),
    {
      name: 'storage-uses-no-kafka-words-from-npm',
      severity: 'error',
      from: { path: '^src/storage/' },
      to: { path: 'node_modules/(kafkajs|lz4|snappy)' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: ['.ts', '.mjs', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
};

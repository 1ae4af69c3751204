import { gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string): string => decodeURIComponent(new URL(path, import.meta.url).pathname);

/** A `.gz` beside every file that gains by it; viewer/assets.py serves it to browsers that take it. */
function packed(): Plugin {
  return {
    name: 'packed',
    apply: 'build',
    enforce: 'post',
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        const source = file.type === 'chunk' ? file.code : file.source;
        const bytes = gzipSync(source, { level: 9 });
        if (bytes.length < source.length * 0.9) this.emitFile({ type: 'asset', fileName: `${file.fileName}.gz`, source: bytes });
      }
    },
  };
}

// The page asks for /static/dist/viewer.js and viewer.css by these fixed names; everything they pull in
// (chunks, decoder workers, WebAssembly) carries a content hash so that it can be cached for ever.
export default defineConfig({
  base: '/static/dist/',
  publicDir: false,
  plugins: [packed()],
  resolve: {
    alias: {
      // vtk.js's XML reader drags in xmlbuilder2, which needs Node's `events` and breaks the browser build.
      xmlbuilder2: here('./src/empty.ts'),
      // The decoders' Emscripten shells name these for Node only.
      fs: here('./src/empty.ts'),
      path: here('./src/empty.ts'),
    },
  },
  worker: { format: 'es' },
  build: {
    outDir: '../static/dist',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 6000,
    rolldownOptions: {
      input: here('./src/main.ts'),
      output: {
        entryFileNames: 'viewer.js',
        chunkFileNames: 'assets/[name]-[hash].js',
        assetFileNames: (asset) => (asset.names.some((name) => name.endsWith('.css')) ? 'viewer.css' : 'assets/[name]-[hash][extname]'),
      },
    },
    cssCodeSplit: false,
  },
  test: { include: ['test/**/*.test.ts'], environment: 'node' },
} as Parameters<typeof defineConfig>[0]);

// A tool of the build: compiles JavaScript modules into the bytecode that the engine carries within. bytecode FILE… >MODULES
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules.h"
#include "quickjs.h"

/** What a module imports is not loaded: it is compiled by itself. */
static JSModuleDef *placeholder(JSContext *c, const char *name, void *opaque) {
  return JS_NewCModule(c, name, NULL);
}

static char *as_written(JSContext *c, const char *base, const char *name, void *opaque) {
  return js_strdup(c, name);
}

static char *read_all(const char *path, size_t *length) {
  FILE *f = fopen(path, "rb");
  if (f == NULL || fseek(f, 0, SEEK_END) != 0) return NULL;
  long size = ftell(f);
  char *text = size < 0 ? NULL : malloc((size_t)size + 1);
  rewind(f);
  if (text == NULL || fread(text, 1, (size_t)size, f) != (size_t)size) return NULL;
  fclose(f);
  text[size] = 0; // the parser wants one
  *length = (size_t)size;
  return text;
}

int main(int argc, char **argv) {
  JSContext *c = JS_NewContext(JS_NewRuntime());
  JS_SetModuleLoaderFunc(JS_GetRuntime(c), as_written, placeholder, NULL);
  for (int i = 1; i < argc; i++) {
    const char *slash = strrchr(argv[i], '/'), *name = slash == NULL ? argv[i] : slash + 1;
    size_t length, code_length;
    char *text = read_all(argv[i], &length);
    if (text == NULL) {
      perror(argv[i]);
      return 1;
    }
    JSValue module = JS_Eval(c, text, length, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(module)) {
      JSValue error = JS_GetException(c);
      const char *said = JS_ToCString(c, error), *where = JS_ToCString(c, JS_GetPropertyStr(c, error, "stack"));
      fprintf(stderr, "%s: %s\n%s\n", argv[i], said, where);
      return 1;
    }
    const uint8_t *code = JS_WriteObject(c, &code_length, module, JS_WRITE_OBJ_BYTECODE);
    if (code == NULL) return 1;
    struct module head = {(uint32_t)strlen(name), (uint32_t)code_length};
    fwrite(&head, sizeof head, 1, stdout);
    fwrite(name, 1, head.name_length, stdout);
    fwrite(code, 1, code_length, stdout);
    free(text);
  }
  return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}

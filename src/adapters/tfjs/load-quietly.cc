// An addon of one function, load(path): loads a shared library with standard error turned away meanwhile, and returns why
// it cannot be loaded, or null. TensorFlow greets on standard error while it is loaded, before any of its settings counts.
//
// Standard error is the process', and several threads load: one at a time, or one would keep the other's nowhere for what is to be put
// back, and the process would be silent from then on. What is loaded already is not loaded again, so that nothing said meanwhile is lost.
#include <dlfcn.h>
#include <fcntl.h>
#include <node_api.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <string>

static std::mutex turned_away;

static napi_value Load(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value path_value, result;
  size_t length = 0;
  napi_get_cb_info(env, info, &count, &path_value, nullptr, nullptr);
  if (napi_get_value_string_utf8(env, path_value, nullptr, 0, &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "load(path) takes a string");
    return nullptr;
  }
  std::string path(length + 1, '\0');
  napi_get_value_string_utf8(env, path_value, &path[0], length + 1, &length);

  const char* why = nullptr;
  {
    const std::lock_guard<std::mutex> alone(turned_away);
    // Never unloaded: TensorFlow's own threads go on, and would run in memory that is gone.
    if (dlopen(path.c_str(), RTLD_LAZY | RTLD_NODELETE | RTLD_NOLOAD) == nullptr) {
      fflush(stderr);
      const int standard_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
      const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
      if (standard_error >= 0 && nowhere >= 0) dup2(nowhere, STDERR_FILENO);
      if (dlopen(path.c_str(), RTLD_LAZY | RTLD_NODELETE) == nullptr) why = dlerror();
      fflush(stderr);
      if (standard_error >= 0 && nowhere >= 0) dup2(standard_error, STDERR_FILENO);
      if (standard_error >= 0) close(standard_error);
      if (nowhere >= 0) close(nowhere);
    }
  }

  if (why == nullptr) {
    napi_get_null(env, &result);
  } else {
    napi_create_string_utf8(env, why, NAPI_AUTO_LENGTH, &result);
  }
  return result;
}

static napi_value Initialize(napi_env env, napi_value exports) {
  napi_value load;
  napi_create_function(env, "load", NAPI_AUTO_LENGTH, Load, nullptr, &load);
  napi_set_named_property(env, exports, "load", load);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, Initialize)

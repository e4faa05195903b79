/* fovea.h - the whole public interface of libfovea.
 *
 * Fovea couples an image encoder to a language decoder and treats what an image put into the KV cache
 * differently from what text put there. Five rules of ownership hold everywhere:
 *  1. `T **out` gives you an object that you free or close; a returned `const T *` belongs to its
 *     parent and dies with it (or earlier, where said).
 *  2. free/close take `T **`, set it to NULL, accept NULL and cannot fail.
 *  3. Inputs are read during the call and copied if they are kept; images are reference-counted.
 *  4. An engine outlives its sessions, a session outlives its generations.
 *  5. Structs that you hand over for reading or filling begin with `uint32_t size` (set it to sizeof); zero
 *     in any other field of options means the default that is documented beside it. Fields are only ever
 *     appended, and a smaller size is served as an older caller's. */
#ifndef FOVEA_H
#define FOVEA_H

#include <fovea/engine.h>
#include <fovea/image.h>
#include <fovea/kv.h>
#include <fovea/session.h>
#include <fovea/status.h>
#include <fovea/types.h>
#include <fovea/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0" */
FOVEA_API const char *fovea_version(void);

#ifdef __cplusplus
}
#endif
#endif

/** TensorFlow's own updates, which change a variable in place; they are nodes of a recorded update. */
import { assert } from "../../core/errors.ts";
import type { FusedUpdates, Tensor } from "../../ports/engine.ts";
import { attributes, type GraphBackend } from "./graph.ts";
import { currentRecorder } from "./recorder.ts";

export function fusedUpdates(backend: GraphBackend): FusedUpdates {
  const { TF_FLOAT } = backend.binding;
  const type = attributes.type(TF_FLOAT);
  return {
    adam({ weight, mean, square }, gradient, { rate, beta1, beta2, epsilon }, decay) {
      const recorder = currentRecorder();
      const [w, m, v] = [weight, mean, square].map((tensor) => recorder?.variableOf(tensor) ?? null);
      assert(recorder !== null && !!w && !!m && !!v, "Adam updates the state's tensors, in an update that is recorded");
      const scalar = (value: number) =>
        recorder.add("Const", [], {
          dtype: type,
          value: attributes.tensor(TF_FLOAT, [], Float32Array.of(value)),
        });
      const before: string[] = [];
      if (decay) {
        const taken = recorder.add("Mul", [recorder.nameOf(weight), recorder.nameOf(decay)], { T: type });
        before.push(`^${recorder.add("AssignSubVariableOp", [w, taken], { dtype: type })}`);
      }
      // The rate has the corrections for the moments' start at zero in it: the powers of the betas that TensorFlow makes them
      // of are zero.
      const numbers = [scalar(0), scalar(0), recorder.nameOf(rate), scalar(beta1), scalar(beta2), scalar(epsilon)];
      const done = recorder.add("ResourceApplyAdam", [w, m, v, ...numbers, recorder.nameOf(gradient), ...before], {
        T: type,
        use_locking: attributes.bool(false),
        use_nesterov: attributes.bool(false),
      });
      // What the variables hold then; the values here stand for it.
      const updated = (tensor: Tensor) => {
        const stand = backend.executeSingleOutput("Identity", [typeAttribute], [tensor]);
        recorder.name(stand, `^${done}`);
        return stand;
      };
      const typeAttribute = { name: "T", type: backend.binding.TF_ATTR_TYPE, value: TF_FLOAT };
      return { weight: updated(weight), mean: updated(mean), square: updated(square) };
    },
  };
}

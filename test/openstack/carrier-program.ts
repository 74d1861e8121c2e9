// The probe as a program of the engine.
import "../../engine/language.ts";
import "../../engine/surroundings.ts";
import "./carrier-probe.ts";

/** The URL of a module of src/, named as "cli/main", that is ready to be imported. */
export function builtModule(name: string): Promise<string>;
